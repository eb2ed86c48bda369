"""The directories of a TIFF, told from its bytes: the classic form and BigTIFF. Pure.

Only what Pillow's class reads too, so that both see the same file: two heads have the bytes of their number swapped,
and a BigTIFF is little-endian. TIFF 6.0, section 2; BigTIFF as libtiff describes it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

STARTS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0")
ERRORS = (KeyError, ValueError, OverflowError)
"""What reading a directory raises where there is none, or a damaged one."""
_BIG = b"II+\0"
_MOST_ENTRIES = 65_535
"""Of a directory: a classic one cannot have more."""
_KINDS = {
    1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
"""Types that hold whole numbers."""

Numbers = NDArray[np.integer[Any]]
NONE: Numbers = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """Some of a directory's entries."""

    numbers: dict[int, Numbers]
    """By tag. An entry whose values lie outside the file is left out, as decoders pass over it too."""
    next: int
    """Offset of the next directory; 0 where this one is the last, or where the file was cut before that number."""

    def first(self, tag: int) -> int:
        """The first value of `tag`, or 0."""
        return int(self.numbers[tag][0]) if len(self.numbers.get(tag, NONE)) else 0


def first_offset(tiff: bytes) -> int:
    """Where the first directory begins. Raises ERRORS."""
    form = _form(tiff)
    return _number(tiff, form.word, form.word.itemsize)


def read_directory(tiff: bytes, at: int, tags: Collection[int]) -> Directory:
    """The directory at offset `at`, with its whole numbers under `tags`. Raises ERRORS."""
    form = _form(tiff)
    entries = _number(tiff, form.total, at)
    if entries > _MOST_ENTRIES:
        raise ValueError(f"a directory of {entries} entries")
    begin = at + form.total.itemsize
    table = np.frombuffer(tiff, form.entry, entries, begin)
    found: dict[int, Numbers] = {}
    for row in np.flatnonzero(np.isin(table["tag"], list(tags))).tolist():
        tag, kind, count, value = table[row].tolist()
        dtype = np.dtype(_KINDS[kind]).newbyteorder(form.order)
        length = count * dtype.itemsize
        inside = begin + (row + 1) * form.entry.itemsize - form.word.itemsize
        place = inside if length <= form.word.itemsize else value
        if place + length > len(tiff):
            continue
        values = np.frombuffer(tiff, dtype, count, place)
        if len(values) > len(found.get(tag, NONE)):  # of two with one tag decoders take this one or that
            found[tag] = values
    end = begin + table.nbytes
    is_whole = end + form.word.itemsize <= len(tiff)
    return Directory(found, _number(tiff, form.word, end) if is_whole else 0)


class _Form(NamedTuple):
    order: Literal["<", ">"]
    total: np.dtype[Any]
    """Of a directory's number of entries."""
    word: np.dtype[Any]
    """Of an offset, of an entry's number of values, and of the room for values in an entry."""
    entry: np.dtype[Any]


def _form(tiff: bytes) -> _Form:
    order: Literal["<", ">"] = "<" if tiff[:2] == b"II" else ">"
    total, word = ("u8", "u8") if tiff.startswith(_BIG) else ("u2", "u4")
    entry = np.dtype([("tag", order + "u2"), ("kind", order + "u2"), ("count", order + word), ("values", order + word)])
    return _Form(order, np.dtype(order + total), np.dtype(order + word), entry)


def _number(tiff: bytes, dtype: np.dtype[Any], at: int) -> int:
    return int(np.frombuffer(tiff, dtype, 1, at)[0])
