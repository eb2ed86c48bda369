"""How often the decoder of a JPEG goes over the whole picture: once for each scan. Pure.

A progressive JPEG, and one whose components come one by one, may hold any number of scans (ITU-T T.81, B.2.3 and G.1),
each as short as ten bytes: a small file can keep a decoder at work for hours, within every limit of bytes and pixels.
"""

import re
from itertools import islice

_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""What has no length behind it: a byte of data, TEM, restarts, the beginning of an image."""
_END = 0xD9
_SCAN = 0xDA
_LIKE_SCANS = re.compile(b"\xff\xda")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Beginnings of a frame: baseline to lossless, by Huffman's or the arithmetic code."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})


def has_more_scans(jpeg: bytes, most: int) -> bool:
    """Whether a decoder goes through more than `most` scans of `jpeg`, from its first to its end.

    The marker segments up to the first scan are walked, some microseconds. For most cameras' images that is all: a
    decoder stops behind a scan that has everything. Of the others the scans are counted at the speed of memory, and
    told from bytes that merely look so only where there are too many.
    """
    place, components, progressive, scans = 2, 0, False, 0
    while (place := jpeg.find(b"\xff", place)) >= 0 and place + 3 < len(jpeg):
        marker = jpeg[place + 1]
        if marker == 0xFF:  # filling before a marker
            place += 1
            continue
        place += 2
        if marker in _ALONE:
            continue
        if marker == _END:
            break
        if marker in _FRAMES:
            progressive, components = marker in _PROGRESSIVE, _byte(jpeg, place + 7)
        elif marker == _SCAN:
            scans += 1
            if scans > most:
                return True
            if scans == 1 and not progressive and _byte(jpeg, place + 2) >= components:
                return False
            if scans == 1 and next(islice(_LIKE_SCANS.finditer(jpeg, place), most - 1, None), None) is None:
                return False
        place += int.from_bytes(jpeg[place : place + 2])
    return False


def _byte(data: bytes, place: int) -> int:
    return data[place] if place < len(data) else 0
