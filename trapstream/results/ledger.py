"""The proof of completeness: a manifest held against a file, as two streams. Pure.

Published = detected + empty + failed, each image once. Both are walked together: only names that are out of step are
kept, so memory stays flat for a file in the order of its manifest, and the answer is exact in any order.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trapstream.results.entry import Entry
from trapstream.results.write import FileState


@dataclass(frozen=True)
class Names:
    """Names that are out of order, of which the first few are shown."""

    total: int = 0
    """Images for missing names, entries for the others."""
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """What became of the images of a manifest."""

    published: int
    """Names in the manifest."""
    detected: int = 0
    empty: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """By reason."""
    missing: Names = Names()
    """In the manifest and not in the file."""
    doubled: Names = Names()
    """In the file more than once; the first entry is the one that counts."""
    unknown: Names = Names()
    """In the file and not in the manifest."""

    @property
    def complete(self) -> bool:
        """Every image of the manifest has exactly one entry, and nothing else is in the file."""
        return not (self.missing.total or self.doubled.total or self.unknown.total)


def reason_of(failure: str) -> str:
    """The reason within a failure string: `image access failure: not found: /a` gives `not found`."""
    parts = failure.split(": ", 2)
    return parts[1] if len(parts) > 1 else parts[0]


class _Walk:
    """Two streams in step, and what is out of step."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self.waiting: dict[str, None] = {}  # names whose entry has not come
        self.ahead: dict[str, Entry] = {}  # entries whose name is not waiting: to come, or settled, or unknown
        self.surplus: Counter[str] = Counter()  # entries after the first of a name
        self.published = self.detected = self.empty = 0
        self.failed: Counter[str] = Counter()

    def name(self, name: str) -> None:
        """The manifest's next name."""
        self.published += 1
        entry = self.ahead.pop(name, None)
        if entry is None:
            self.waiting[name] = None
        else:
            self.settle(entry)

    def entry(self, entry: Entry) -> None:
        """The file's next entry."""
        if entry.file in self.waiting:
            del self.waiting[entry.file]
            self.settle(entry)
        elif entry.file in self.ahead:
            self.surplus[entry.file] += 1
        else:
            self.ahead[entry.file] = entry

    def settle(self, entry: Entry) -> None:
        """A name and its first entry have met."""
        if entry.failure is not None:
            self.failed[reason_of(entry.failure)] += 1
        elif entry.confidence >= self._threshold:
            self.detected += 1
        else:
            self.empty += 1


def account(
    manifest: Callable[[], Iterable[str]], entries: Iterable[Entry], threshold: float, show: int = 20
) -> Account:
    """Holds `entries` against a manifest of distinct names. `threshold` splits detected from empty.

    `manifest` gives the names from the first on; it is called a second time only if entries are left over, to tell
    doubled from unknown. `show` names of each kind are kept for the reader.
    """
    walk = _Walk(threshold)
    for name, entry in itertools.zip_longest(manifest(), entries):
        if name is not None:
            walk.name(name)
        if entry is not None:
            walk.entry(entry)
    # What is still ahead was settled before (and is doubled), or stands in no manifest.
    left = Counter(dict.fromkeys(walk.ahead, 1))
    known = {name for name in manifest() if name in left} if left else set[str]()
    unknown = Counter({name: 1 + walk.surplus.pop(name, 0) for name in left if name not in known})
    doubled = walk.surplus + Counter(dict.fromkeys(known, 1))
    return Account(
        published=walk.published,
        detected=walk.detected,
        empty=walk.empty,
        failed=dict(sorted(walk.failed.items())),
        missing=_names(Counter(walk.waiting.keys()), show),
        doubled=_names(doubled, show),
        unknown=_names(unknown, show),
    )


def summary(found: Account) -> list[str]:
    """The account in words, a fact a line."""
    failed = sum(found.failed.values())
    lines = [
        f"published {found.published} = detected {found.detected} + empty {found.empty} + failed {failed}"
        + (f" + missing {found.missing.total}" if found.missing.total else "")
    ]
    lines += [f"failed: {reason}: {count}" for reason, count in found.failed.items()]
    for kind, names in (("missing", found.missing), ("doubled", found.doubled), ("unknown", found.unknown)):
        lines += [f"{kind}: {name}" for name in names.first]
        if names.total > len(names.first):
            lines.append(f"{kind}: {names.total} in all")
    lines.append("complete: every image has exactly one entry" if found.complete else "not complete")
    return lines


def explanation(found: Account, own: Mapping[str, Any]) -> str | None:
    """Why images are missing, as the file's `own` account says; None where it does not."""
    state, missing = own.get("state"), f"{found.missing.total:,} of {found.published:,} images are missing"
    if state == FileState.CANCELLED:
        return f"the job was cancelled: {missing}, and what was done until then is here"
    if state == FileState.FAILED:
        return f"the job could not be published: {missing}"
    if state == FileState.PARTIAL:
        return f"the file was written while the job ran: {missing} so far"
    return None


def disagreements(found: Account, own: Mapping[str, Any]) -> list[str]:
    """Where a file's `own` account differs from its entries, a line each; none where another program wrote it."""
    if not own:
        return []
    real = {"detected": found.detected, "empty": found.empty, "failed": found.failed}
    if own.get("complete"):
        real["images"] = found.published
    return [
        f"the file says {key} {own.get(key)}, its entries say {value}"
        for key, value in real.items()
        if own.get(key) != value
    ]


def _names(found: Counter[str], show: int) -> Names:
    return Names(found.total(), tuple(itertools.islice(found, show)))
