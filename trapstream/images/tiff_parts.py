"""The strips or tiles of a TIFF's first picture, as its directory tells them (TIFF 6.0, sections 2, 7 and 15). Pure.

Nothing keeps a file from naming the same bytes for each of them, or more of them than it has pixels: a small file can
keep a decoder at work for hours, or take its memory, within every limit of bytes and pixels.
"""

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_PLACES = ((273, 279), (324, 325))
"""Tags of the offsets and the sizes: of strips, of tiles."""
_TAGS = {_WIDTH, _HEIGHT, _COMPRESSION}.union(*_PLACES)
_KINDS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8"}
"""Types that hold whole numbers."""
_PLAIN = 1

Numbers = NDArray[np.integer[Any]]
_NONE: Numbers = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a decoder has to go through."""

    width: int
    height: int
    compressed: bool
    places: tuple[tuple[Numbers, Numbers], ...]
    """Offsets and sizes in bytes, of strips and of tiles: a file should have one of them."""
    file: int
    """Bytes of it."""

    @property
    def count(self) -> int:
        """Strips or tiles."""
        return max(len(begins) for begins, _ in self.places)

    @property
    def most(self) -> int:
        """More strips or tiles than a picture of this size has, be they as small as any program writes them."""
        return 4 * (self.width + self.height) + self.width * self.height // 64

    @property
    def packed(self) -> int:
        """Bytes of them together, where they are compressed; else 0. One of no size, or of too large a one, goes to
        the file's end, as decoders have it."""
        return max(_sum(begins, sizes, self.file) for begins, sizes in self.places) if self.compressed else 0


def read_parts(tiff: bytes) -> Parts:
    """The parts of `tiff`. struct.error, KeyError or ValueError where there is no directory, or a damaged one."""
    order: Literal["<", ">"] = "<" if tiff[:2] == b"II" else ">"
    (place,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, place)
    found: dict[int, Numbers] = {}
    for number in range(entries):
        entry = place + 2 + 12 * number
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
        if tag not in _TAGS:
            continue
        dtype = np.dtype(_KINDS[kind]).newbyteorder(order)
        at = entry + 8 if count * dtype.itemsize <= 4 else struct.unpack_from(order + "I", tiff, entry + 8)[0]
        if at + count * dtype.itemsize > len(tiff):
            continue  # decoders pass over it too
        values = np.frombuffer(tiff, dtype, count, at)
        if len(values) > len(found.get(tag, _NONE)):  # of two with one tag decoders take this one or that
            found[tag] = values
    return Parts(
        width=_first(found, _WIDTH),
        height=_first(found, _HEIGHT),
        compressed=_first(found, _COMPRESSION) > _PLAIN,
        places=tuple((found.get(at, _NONE), found.get(of, _NONE)) for at, of in _PLACES),
        file=len(tiff),
    )


def _first(found: dict[int, Numbers], tag: int) -> int:
    return int(found[tag][0]) if tag in found else 0


def _sum(offsets: Numbers, sizes: Numbers, file: int) -> int:
    begins = np.clip(offsets.astype("i8"), 0, file)
    told = np.zeros(len(begins), "i8")
    told[: len(sizes)] = sizes[: len(begins)]
    rest = file - begins
    return int(np.where((told <= 0) | (told > rest), rest, told)[begins > 0].sum())
