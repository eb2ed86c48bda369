"""What another model would have said: two result files over one manifest, walked in step. Pure but for its `out`.

An image's answer is the set of classes that are detected at the threshold. How many boxes there are, and where, is
not part of it: two detectors never agree on that to the pixel, and nobody files a photograph by it.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trapstream.core import json_codec
from trapstream.core.errors import BadMessage
from trapstream.results.entry import Detection, Entry
from trapstream.results.write import Sink


class Kind(StrEnum):
    """What became of an image's answer."""

    NEW = "new"
    """Something is detected where nothing was."""
    GONE = "gone"
    """Nothing is detected where something was."""
    CLASS = "class"
    """Something is detected by both, but not the same classes."""
    FAILS = "fails"
    """It had an answer, and fails now."""
    ANSWERED = "answered"
    """It failed, and has an answer now."""
    SAME = "same"
    """The same classes, or none by either."""
    BOTH_FAIL = "both fail"
    """No answer by either."""


CHANGED = tuple(kind for kind in Kind if kind not in {Kind.SAME, Kind.BOTH_FAIL})
DRAWN = (Kind.NEW, Kind.GONE, Kind.CLASS)
"""Changes between two answers: there is something to look at."""


@dataclass(frozen=True)
class Side:
    """How one of the two models is read."""

    threshold: float
    """Confidence from which a detection counts."""
    names: Mapping[str, str]
    """Category to class: two models need not number them alike."""

    def best(self, entry: Entry) -> dict[str, float]:
        """Class to its highest confidence, whatever the threshold."""
        found: dict[str, float] = {}
        for one in entry.detections or ():
            name = self.names.get(one.category, one.category)
            found[name] = max(found.get(name, 0.0), one.conf)
        return found

    def sure(self, entry: Entry) -> tuple[Detection, ...]:
        """The detections that count."""
        return tuple(one for one in entry.detections or () if one.conf >= self.threshold)


@dataclass(frozen=True)
class Change:
    """One image and its two answers."""

    kind: Kind
    size: float
    """The largest difference in confidence among the classes that came or went; 0 where a side failed."""
    old: Entry
    new: Entry

    @property
    def file(self) -> str:
        """The image's name."""
        return self.old.file


def change(old: Entry, new: Entry, before: Side, after: Side) -> Change:
    """What became of one image, of which `old` and `new` are the entries."""
    if old.failure is not None or new.failure is not None:
        return Change(_failed(old, new), 0.0, old, new)
    was, now = before.best(old), after.best(new)
    had = {name for name, conf in was.items() if conf >= before.threshold}
    has = {name for name, conf in now.items() if conf >= after.threshold}
    if had == has:
        return Change(Kind.SAME, 0.0, old, new)
    size = max(abs(now.get(name, 0.0) - was.get(name, 0.0)) for name in had ^ has)
    kind = Kind.NEW if not had else Kind.GONE if not has else Kind.CLASS
    return Change(kind, round(size, 3), old, new)


def _failed(old: Entry, new: Entry) -> Kind:
    if old.failure is not None and new.failure is not None:
        return Kind.BOTH_FAIL
    return Kind.ANSWERED if old.failure is not None else Kind.FAILS


def compare(old: Iterable[Entry], new: Iterable[Entry], before: Side, after: Side) -> Iterator[Change]:
    """Every image's change, also where there is none, in the order of the files; one image in memory at a time.

    BadMessage where the files are not of the same images in the same order.
    """
    for number, (one, other) in enumerate(itertools.zip_longest(old, new), 1):
        if one is None or other is None or one.file != other.file:
            names = " and ".join("nothing" if entry is None else repr(entry.file) for entry in (one, other))
            raise BadMessage(f"the results are not of the same images: entry {number} is {names}")
        yield change(one, other, before, after)


class Largest:
    """The largest changes that can be drawn, and how many there were of each kind."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Change]] = []
        self.counts: Counter[Kind] = Counter(dict.fromkeys(Kind, 0))

    def add(self, found: Change) -> None:
        """Takes note of one image."""
        self.counts[found.kind] += 1
        if found.kind in DRAWN:
            # Of two that are as large the earlier one stays, so that the same files give the same sheet.
            heapq.heappush(self._heap, (found.size, -self.counts.total(), found))
            if len(self._heap) > self._most:
                heapq.heappop(self._heap)

    def take(self) -> list[Change]:
        """The largest first."""
        return [found for _, _, found in sorted(self._heap, key=lambda held: held[:2], reverse=True)]

    @property
    def changed(self) -> int:
        """Images whose answer changed."""
        return sum(self.counts[kind] for kind in CHANGED)


def summary(counts: Mapping[Kind, int]) -> list[str]:
    """The account in words, a fact a line: compared = changed + same + both fail."""
    total, changed = sum(counts.values()), sum(counts[kind] for kind in CHANGED)
    same, neither = counts[Kind.SAME], counts[Kind.BOTH_FAIL]
    lines = [f"compared {total:,} = changed {changed:,} + same {same:,} + failed by both {neither:,}"]
    words = {
        Kind.NEW: "new: detected where nothing was",
        Kind.GONE: "gone: nothing detected any more",
        Kind.CLASS: "class: other classes detected",
        Kind.FAILS: "fails: had an answer, fails now",
        Kind.ANSWERED: "answered: failed, has an answer now",
    }
    return lines + [f"{text}: {counts[kind]:,}" for kind, text in words.items() if counts[kind]]


def write_changes(
    head: Mapping[str, Any], found: Iterable[Change], before: Side, after: Side, out: Sink, largest: Largest
) -> None:
    """Writes the changed ones of `found`, in their order, and the counts after them; `largest` sees every one.

    `head` stands before them, a line for each key. One image in memory at a time.
    """
    out.write(b"{\n")
    for key, value in head.items():
        out.write(json_codec.encode(key) + b": " + json_codec.encode(value) + b",\n")
    out.write(b'"changes": [')
    written = 0
    for each in found:
        largest.add(each)
        if each.kind in CHANGED:
            out.write((b",\n" if written else b"\n") + json_codec.encode(as_json(each, before, after)))
            written += 1
    counts = {"compared": largest.counts.total(), "changed": written}
    counts |= {kind.value: count for kind, count in largest.counts.items()}
    out.write(b'\n],\n"counts": ' + json_codec.encode(counts) + b"\n}\n")


def as_json(found: Change, before: Side, after: Side) -> dict[str, Any]:
    """One change: the highest confidence of each class on both sides, and the detections that count."""
    return {
        "file": found.file,
        "change": found.kind,
        "size": found.size,
        "old": _side_json(found.old, before),
        "new": _side_json(found.new, after),
    }


def _side_json(entry: Entry, side: Side) -> dict[str, Any]:
    if entry.failure is not None:
        return {"failure": entry.failure}
    detections = [
        {"class": side.names.get(one.category, one.category), "conf": one.conf, "bbox": one.bbox}
        for one in side.sure(entry)
    ]
    return {"best": side.best(entry), "detections": detections}
