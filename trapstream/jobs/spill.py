"""Sorting more names than memory should hold: sorted runs go to temporary files and are merged."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

MOST_HELD = 500_000
"""Names held at once, some 40 MB."""
_PIECE = 64 * 1024


def in_order(names: Iterable[bytes], most: int | None = None) -> Iterator[bytes]:
    """The names sorted. All of `names` is taken before this returns; none may hold a zero byte.

    OSError if more than `most` names come and there is no room for temporary files.
    """
    held: list[bytes] = []
    runs: list[Iterator[bytes]] = []
    for name in names:
        if len(held) == (most or MOST_HELD):
            held.sort()
            runs.append(_read(_written(held)))
            held = []
        held.append(name)
    held.sort()
    return heapq.merge(*runs, held) if runs else iter(held)


def _written(run: list[bytes]) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # it goes with its last reader
    for start in range(0, len(run), 1000):
        file.write(b"\0".join(run[start : start + 1000]) + b"\0")
    file.seek(0)
    return file


def _read(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    with file:
        while piece := file.read(_PIECE):
            *names, rest = (rest + piece).split(b"\0")
            yield from names
