"""What an image makes its decoder go through, told from its bytes before a pixel is decoded. Pure.

Within every limit of bytes and pixels a small file can keep a decoder at work for hours, or take its memory. A
progressive JPEG, and one whose components come one by one, may hold any number of scans of the whole picture (ITU-T
T.81, B.2.3 and G.1), each as short as ten bytes. Nothing keeps a TIFF's directory (TIFF 6.0, sections 2, 7 and 15) from
naming the same bytes for each of its strips or tiles, or more of them than it has pixels.
"""

import re
from dataclasses import dataclass
from itertools import islice

import numpy as np

from trapstream.core.errors import Permanent, Reason
from trapstream.images.tiff import NONE, Numbers, first_offset, read_directory

_PASSES = 32
"""A decoder may go over all the pixels that an image may have so many times; over fewer pixels oftener. Progressive
files of cameras and of the usual tools have 6 to 20 scans."""
_READS = 2
"""The compressed strips or tiles of a TIFF may be so many times as long as the file."""
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Markers of a JPEG that have no length behind them: a byte of data, TEM, restarts, the beginning of an image."""
_END = 0xD9
_SCAN = 0xDA
_LIKE_SCANS = re.compile(b"\xff\xda")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Beginnings of a frame: baseline to lossless, by Huffman's or the arithmetic code."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_PARTS = ((273, 279), (324, 325))
"""Tags of a TIFF's offsets and sizes: of strips, of tiles."""
_TAGS = {_WIDTH, _HEIGHT, _COMPRESSION}.union(*_PARTS)
_PLAIN = 1


def require_size(width: int, height: int, max_pixels: int) -> None:
    """Permanent(TOO_MANY_PIXELS) where an image has more than `max_pixels`."""
    if width * height > max_pixels:
        raise Permanent(Reason.TOO_MANY_PIXELS, f"{width} x {height}, the limit is {max_pixels} in all")


def require_few_scans(jpeg: bytes, width: int, height: int, max_pixels: int) -> None:
    """Permanent(TOO_COSTLY) where a decoder would go over the picture too often."""
    most = _PASSES * max_pixels // max(width * height, 1)
    if has_more_scans(jpeg, most):
        raise Permanent(Reason.TOO_COSTLY, f"more than {most} scans of {width} x {height} pixels")


def require_few_parts(tiff: bytes, max_pixels: int) -> None:
    """Permanent(TOO_MANY_PIXELS or TOO_COSTLY) where the strips or tiles are out of all proportion to the picture or to
    the file. Errors as `read_parts`."""
    parts = read_parts(tiff)
    require_size(parts.width, parts.height, max_pixels)
    if parts.count > parts.most:
        raise Permanent(
            Reason.TOO_COSTLY, f"{parts.count} strips or tiles of an image of {parts.width} x {parts.height} pixels"
        )
    if parts.packed > _READS * len(tiff):
        raise Permanent(Reason.TOO_COSTLY, f"{parts.packed} bytes in strips or tiles of a file of {len(tiff)} bytes")


def has_more_scans(jpeg: bytes, most: int) -> bool:
    """Whether a decoder goes through more than `most` scans of `jpeg`, from its first to its end.

    The marker segments up to the first scan are walked, some microseconds. For most cameras' images that is all: a
    decoder stops behind a scan that has everything. Of the others the scans are counted at the speed of memory, and
    told from bytes that merely look so only where there are too many.
    """
    at, components, progressive, scans = 2, 0, False, 0
    while (at := jpeg.find(b"\xff", at)) >= 0 and at + 3 < len(jpeg):
        marker = jpeg[at + 1]
        if marker == 0xFF:  # filling before a marker
            at += 1
            continue
        at += 2
        if marker in _ALONE:
            continue
        if marker == _END:
            break
        if marker in _FRAMES:
            progressive, components = marker in _PROGRESSIVE, _byte(jpeg, at + 7)
        elif marker == _SCAN:
            scans += 1
            if scans > most:
                return True
            if scans == 1 and not progressive and _byte(jpeg, at + 2) >= components:
                return False
            if scans == 1 and next(islice(_LIKE_SCANS.finditer(jpeg, at), most - 1, None), None) is None:
                return False
        at += int.from_bytes(jpeg[at : at + 2])
    return False


def _byte(data: bytes, at: int) -> int:
    return data[at] if at < len(data) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The strips or tiles of a TIFF's first picture, as its directory tells them."""

    width: int
    height: int
    compressed: bool
    spans: tuple[tuple[Numbers, Numbers], ...]
    """Offsets and sizes in bytes, of strips and of tiles: a file should have one of them."""
    file: int
    """Bytes of it."""

    @property
    def count(self) -> int:
        """Strips or tiles."""
        return max(len(begins) for begins, _ in self.spans)

    @property
    def most(self) -> int:
        """More strips or tiles than a picture of this size has, be they as small as any program writes them."""
        return 4 * (self.width + self.height) + self.width * self.height // 64

    @property
    def packed(self) -> int:
        """Bytes of them together, where they are compressed; else 0. One of no size, or of too large a one, goes to
        the file's end, as decoders have it."""
        return max(_sum(begins, sizes, self.file) for begins, sizes in self.spans) if self.compressed else 0


def read_parts(tiff: bytes) -> Parts:
    """The parts of `tiff`. Raises tiff.ERRORS where there is no directory, or a damaged one."""
    directory = read_directory(tiff, first_offset(tiff), _TAGS)
    found = directory.numbers
    return Parts(
        width=directory.first(_WIDTH),
        height=directory.first(_HEIGHT),
        compressed=directory.first(_COMPRESSION) > _PLAIN,
        spans=tuple((found.get(at, NONE), found.get(of, NONE)) for at, of in _PARTS),
        file=len(tiff),
    )


def _sum(offsets: Numbers, sizes: Numbers, file: int) -> int:
    begins = np.clip(offsets.astype("i8"), 0, file)
    told = np.zeros(len(begins), "i8")
    told[: len(sizes)] = sizes[: len(begins)]
    rest = file - begins
    return int(np.where((told <= 0) | (told > rest), rest, told)[begins > 0].sum())
