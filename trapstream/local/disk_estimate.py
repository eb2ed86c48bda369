"""What a job needs of the disk, estimated before it starts, and what the home has. The estimate is pure."""

import shutil
from dataclasses import dataclass
from pathlib import Path

# Measured on messages and stores of this version; tests/unit/local/test_disk_estimate.py holds them to it. The names
# and addresses come on top; the manifest tells their length.
_REFERENCE = 110
"""Bytes of a reference in Kafka's log."""
_RESULT = 240
"""Bytes of a result in Kafka's log, without its entry."""
_ENTRY = 500
"""Bytes of an entry: some seven boxes. Most images of a real archive have fewer."""
_STORED = 20
"""Bytes beside the entry in the aggregator's store."""
_SPARE = 500_000_000
"""Bytes that must stay free: logs, and what else lives on the disk."""


@dataclass(frozen=True)
class Need:
    """Bytes that a job takes at its largest: just before the aggregator drops its rows."""

    references: int
    results: int
    store: int
    file: int

    @property
    def total(self) -> int:
        """All that is still to be written."""
        return self.references + self.results + self.store + self.file


def estimate(images: int, manifest: int) -> Need:
    """What a job of so many images needs, by the bytes of its manifest (which holds each image's name and address)."""
    names = manifest // 2  # an address is at least as long as the name in it
    return Need(
        references=manifest + images * _REFERENCE,
        results=names + images * (_RESULT + _ENTRY),
        store=names + images * (_STORED + _ENTRY),
        file=names + images * _ENTRY,
    )


def shortage(home: Path, images: int, manifest: int) -> str | None:
    """One line that says what is lacking for a job; None where the disk of `home` has enough."""
    need = estimate(images, manifest).total
    free = shutil.disk_usage(home).free
    if free >= need * 1.2 + _SPARE:
        return None
    return (
        f"{images:,} images need some {_in_words(need)} on the disk of {home}, and {_in_words(_SPARE)} to spare; "
        f"{_in_words(free)} are free: make room, or choose another --home"
    )


def used(folder: Path) -> int:
    """Bytes that a folder takes on its disk. What goes away meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue
    return total


def _in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
