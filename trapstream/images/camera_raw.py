"""Whether a file is a camera's raw file, told from its bytes. Pure.

Most of them are TIFFs whose first page is a small preview, which a reader of TIFFs takes for the photograph. The others
have a beginning of their own.
"""

from collections.abc import Iterator

from trapstream.images import tiff
from trapstream.images.tiff import Directory

CAMERA_RAW = "a camera's raw file"
_PREVIEW_FIRST = f"{CAMERA_RAW}, or another TIFF whose first page is a reduced image"
_STARTS = (
    b"IIRO", b"IIRS", b"MMOR",  # Olympus ORF
    b"IIU\0",  # Panasonic RW2, Leica RWL
    b"II\x1a\0\0\0HEAPCCDR",  # Canon CRW
    b"FUJIFILMCCD-RAW",  # Fujifilm RAF
    b"\0MRM",  # Minolta MRW
    b"FOVb",  # Sigma X3F
)  # fmt: skip
_BEHIND_THE_HEAD = (b"CR\x02", b"IIII", b"MMMM")
"""At offset 8 of a TIFF: Canon CR2, Phase One IIQ."""
_CR3 = b"ftypcrx "
_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC, _INNER, _DNG = 254, 255, 262, 330, 50706
_TAGS = frozenset({_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC, _INNER, _DNG})
_REDUCED_BIT, _REDUCED = 1, 2
"""Of NewSubfileType, and as the value of the older SubfileType."""
_SENSOR = frozenset({32803, 34892})
"""Photometric interpretations of a sensor's values: a colour filter array, linear raw."""
_MOST_DIRECTORIES = 8


def name_of(data: bytes) -> str | None:
    """For people: that `data`, or the file that begins with it, is a camera's raw file; None where it is not."""
    if data.startswith(_STARTS) or data[4:12] == _CR3:
        return CAMERA_RAW
    if not data.startswith(tiff.STARTS):
        return None
    if data[8:].startswith(_BEHIND_THE_HEAD):
        return CAMERA_RAW
    try:
        first = tiff.read_directory(data, tiff.first_offset(data), _TAGS)
    except tiff.ERRORS:
        return None
    if _DNG in first.numbers or any(page.first(_PHOTOMETRIC) in _SENSOR for page in _pages(data, first)):
        return CAMERA_RAW
    if first.first(_NEW_SUBFILE) & _REDUCED_BIT or first.first(_SUBFILE) == _REDUCED:
        return CAMERA_RAW if _INNER in first.numbers else _PREVIEW_FIRST
    return None


def _pages(data: bytes, first: Directory) -> Iterator[Directory]:
    """The first directory, those inside it, and those behind it; only as far as `data` goes."""
    yield first
    offsets = [int(offset) for offset in first.numbers.get(_INNER, tiff.NONE)[:_MOST_DIRECTORIES]]
    offsets.append(first.next)
    for number in range(_MOST_DIRECTORIES):
        if number == len(offsets) or not offsets[number]:
            return
        try:
            page = tiff.read_directory(data, offsets[number], _TAGS)
        except tiff.ERRORS:
            continue
        yield page
        if number == len(offsets) - 1:
            offsets.append(page.next)
