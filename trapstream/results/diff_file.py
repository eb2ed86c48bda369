"""The file of a comparison: JSON, written as a stream, a changed image a line. Pure but for the `out` it writes to."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trapstream.results.diff import CHANGED, Change, Largest, Side
from trapstream.results.entry import Entry
from trapstream.results.write import Sink


def write_changes(
    head: Mapping[str, Any], found: Iterable[Change], before: Side, after: Side, out: Sink, largest: Largest
) -> None:
    """Writes the changed ones of `found`, in their order, and the counts after them; `largest` sees every one.

    `head` stands before them, a line for each key. One image in memory at a time.
    """
    out.write(b"{\n")
    for key, value in head.items():
        out.write(_line(key) + b": " + _line(value) + b",\n")
    out.write(b'"changes": [')
    written = 0
    for each in found:
        largest.add(each)
        if each.kind in CHANGED:
            out.write((b",\n" if written else b"\n") + _line(as_json(each, before, after)))
            written += 1
    counts = {"compared": largest.counts.total(), "changed": written}
    counts |= {kind.value: count for kind, count in largest.counts.items()}
    out.write(b'\n],\n"counts": ' + _line(counts) + b"\n}\n")


def as_json(found: Change, before: Side, after: Side) -> dict[str, Any]:
    """One change: the highest confidence of each class on both sides, and the detections that count."""
    return {
        "file": found.file,
        "change": found.kind,
        "size": found.size,
        "old": _answer(found.old, before),
        "new": _answer(found.new, after),
    }


def _answer(entry: Entry, side: Side) -> dict[str, Any]:
    if entry.failure is not None:
        return {"failure": entry.failure}
    detections = [
        {"class": side.names.get(box.category, box.category), "conf": box.conf, "bbox": box.bbox}
        for box in side.sure(entry)
    ]
    return {"best": side.best(entry), "detections": detections}


def _line(value: object) -> bytes:
    return msgspec.json.encode(value)
