"""Where the file of an image ends, by its own format: so a file that is still being written is told from a whole one.

Nothing is decoded. Bytes behind the end do not count, except those that the image itself speaks of: the other pictures
of a multi-picture file, and the film of a phone's moving photograph.
"""

import os
import re
from collections.abc import Callable
from typing import BinaryIO, Literal

_Order = Literal["little", "big"]

_MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd8\xff]")
"""One that a length follows, or the end; not a stuffed byte, nor one that stands alone in a scan."""
_FIRST_PIECE, _PIECE = 4096, 256 * 1024
_END = 0xD9
_MOST_READ = 64 << 20
_MOST_STEPS = 100_000
"""Segments, chunks or blocks of one file: a damaged one does not hold up the others."""
_FILM = re.compile(rb'MicroVideoOffset="(\d{1,12})"|Item:Length="(\d{1,12})"')
_BOX_TYPES = frozenset((b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"moof", b"mfra", b"idat"))
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_PIXELS = ((273, 279), (324, 325), (513, 514))
"""Where strips, tiles or a JPEG lie, and how many bytes of each."""
_SUB_DIRECTORIES = 330
_MOST_DIRECTORIES = 10_000


class _Cut(Exception):
    """The file ends before what it holds."""


def is_whole(file: BinaryIO) -> bool:
    """Whether the file has its end. A file of no format that is known has, unless it is still full of zeros."""
    size = file.seek(0, os.SEEK_END)
    try:
        start = _at(file, 0, min(16, size))
        find = _finder(start)
        if find is None:
            return any(start)
        return find(file) <= size
    except _Cut:
        return False


def _finder(start: bytes) -> Callable[[BinaryIO], int] | None:
    """The function that finds the end of a file which begins like this."""
    if start[4:8] == b"ftyp":
        return _box_end
    if start.startswith(b"RIFF"):
        return _riff_end
    for begin, find in _BEGINNINGS.items():
        if start.startswith(begin):
            return find
    return None


def _jpeg_end(file: BinaryIO) -> int:
    """Behind the first picture's own end marker, and behind what its segments say comes after it."""
    at, other, film = 2, 0, 0
    for _ in range(_MOST_STEPS):
        at, kind = _marker(file, at)
        if kind == _END:
            return max(at + film, other)
        length = int.from_bytes(_at(file, at, 2))
        if length < 2:
            raise _Cut
        if kind in (0xE1, 0xE2):
            body = _at(file, at + 2, length - 2)
            if kind == 0xE1 and b"ns.adobe.com/xap" in body[:32]:
                told = _FILM.findall(body)
                film = max(sum(int(one or 0) for one, _ in told), sum(int(two or 0) for _, two in told))
            elif body.startswith(b"MPF\0"):
                other = _multi_picture_end(body[4:], at + 6)
        at += length
        # Behind the header of a scan comes its data, which `_marker` passes over.
    raise _Cut


def _marker(file: BinaryIO, at: int) -> tuple[int, int]:
    """Behind the next marker from `at` on, and which one it is; bytes before it and stuffed ones are passed over."""
    most = _FIRST_PIECE
    while True:
        file.seek(at)
        piece = file.read(most)
        found = _MARKER.search(piece)
        if found is not None:
            return at + found.end(), piece[found.end() - 1]
        if len(piece) < most:
            raise _Cut
        at += most - 1
        most = _PIECE


def _multi_picture_end(body: bytes, base: int) -> int:
    """Where the last of the pictures ends that a multi-picture file's index names; its offsets count from `base`."""
    order: _Order = "little" if body[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(body[at : at + length], order)

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * min(number(first, 2), 64), 12):
        if number(entry, 2) == 0xB002:
            at, length = number(entry + 8, 4), number(entry + 4, 4)
            pictures = range(at, min(at + length, len(body) - 15), 16)
            ends = (base + number(each + 8, 4) + number(each + 4, 4) for each in pictures if number(each + 8, 4))
            return max(ends, default=0)
    return 0


def _png_end(file: BinaryIO) -> int:
    at = 8
    for _ in range(_MOST_STEPS):
        head = _at(file, at, 8)
        at += 12 + int.from_bytes(head[:4])
        if head[4:] == b"IEND":
            return at
    raise _Cut


def _gif_end(file: BinaryIO) -> int:
    at = 13 + _colours(_at(file, 10, 1)[0])
    for _ in range(_MOST_STEPS):
        kind = _at(file, at, 1)[0]
        if kind == 0x3B:
            return at + 1
        if kind == 0x2C:
            at += 11 + _colours(_at(file, at + 9, 1)[0])  # with the byte that says how wide the codes are
        elif kind == 0x21:
            at += 2
        else:
            raise _Cut
        while length := _at(file, at, 1)[0]:
            at += 1 + length
        at += 1
    raise _Cut


def _colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _bmp_end(file: BinaryIO) -> int:
    """By its pixels, since not every program writes the size of the file; by that size where they are compressed."""
    head = _at(file, 0, 38)
    told, pixels, header = _little(head, 2, 4), _little(head, 10, 4), _little(head, 14, 4)
    if header < 16:
        width, height, bits, compression = _little(head, 18, 2), _little(head, 20, 2), _little(head, 24, 2), 0
    else:
        width, height = _signed(head, 18), _signed(head, 22)
        bits, compression = _little(head, 28, 2), _little(head, 30, 4)
    if compression in (0, 3, 6):
        return pixels + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    packed = _little(head, 34, 4)
    return pixels + packed if packed else told


def _riff_end(file: BinaryIO) -> int:
    return 8 + _little(_at(file, 4, 4), 0, 4)


def _box_end(file: BinaryIO) -> int:
    """Behind the boxes of AVIF: its description and its data have to be there, in either order."""
    size = file.seek(0, os.SEEK_END)
    at, seen = 0, set[bytes]()
    for _ in range(_MOST_STEPS):
        if at == size or (seen >= {b"meta", b"mdat"} and _at(file, at, min(8, size - at))[4:] not in _BOX_TYPES):
            break
        head = _at(file, at, 8)
        length, kind = int.from_bytes(head[:4]), head[4:]
        if not kind.isalnum():
            raise _Cut
        if length == 1:
            length = int.from_bytes(_at(file, at + 8, 8))
        elif length == 0:  # to the end of the file, wherever that is
            return size
        if length < 8 or at + length > size:
            raise _Cut
        seen.add(kind)
        if kind == b"meta" and b"idat" in _at(file, at, length):
            seen.add(b"mdat")
        at += length
    if not seen & {b"meta", b"moov"} or b"mdat" not in seen:
        raise _Cut
    return at


def _tiff_end(file: BinaryIO) -> int:
    """Behind the pixels, values and directories that the directories name, whatever their order."""
    head = _at(file, 0, 16 if _at(file, 2, 2) in (b"\0+", b"+\0") else 8)
    order: _Order = "little" if head[:2] == b"II" else "big"
    big = len(head) == 16
    word, first = (8, 8) if big else (4, 4)
    end, todo, done = 0, [int.from_bytes(head[first : first + word], order)], set[int]()
    while todo and len(done) < _MOST_DIRECTORIES:
        at = todo.pop()
        if not at or at in done:
            continue
        done.add(at)
        behind, more = _directory_end(file, at, order, word)
        end = max(end, behind)
        todo += more
    if not done:  # written last by some programs, which then say where
        raise _Cut
    return end


def _directory_end(file: BinaryIO, at: int, order: _Order, word: int) -> tuple[int, list[int]]:
    """The end of a directory and of what it names, and the places of the directories that it names."""

    def numbers(data: bytes, width: int) -> list[int]:
        return [int.from_bytes(data[start : start + width], order) for start in range(0, len(data), width)]

    counter, length = (8, 20) if word == 8 else (2, 12)
    count = numbers(_at(file, at, counter), counter)[0]
    table = _at(file, at + counter, count * length + word)
    end, values, more = at + counter + len(table), dict[int, list[int]](), numbers(table[-word:], word)
    for start in range(0, count * length, length):
        tag, kind = numbers(table[start : start + 4], 2)
        width = _TIFF_SIZES.get(kind, 1)
        size = width * numbers(table[start + 4 : start + 4 + word], word)[0]
        data = table[start + 4 + word : start + length]
        if size > word:
            place = numbers(data, word)[0]
            end = max(end, place + size)
        if tag in _WANTED:
            values[tag] = numbers(_at(file, place, size) if size > word else data[:size], width)
    for places, sizes in _PIXELS:
        parts = zip(values.get(places, []), values.get(sizes, []), strict=False)
        end = max([end, *(place + size for place, size in parts)])
    return end, more + values.get(_SUB_DIRECTORIES, [])


_WANTED = frozenset((_SUB_DIRECTORIES, *(tag for pair in _PIXELS for tag in pair)))
_BEGINNINGS: dict[bytes, Callable[[BinaryIO], int]] = {
    b"\xff\xd8\xff": _jpeg_end,
    b"\x89PNG\r\n\x1a\n": _png_end,
    b"GIF8": _gif_end,
    b"BM": _bmp_end,
    b"II*\0": _tiff_end,
    b"MM\0*": _tiff_end,
    b"II+\0": _tiff_end,
    b"MM\0+": _tiff_end,
}


def _at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    data = file.read(length) if length <= _MOST_READ else b""
    if len(data) < length:
        raise _Cut
    return data


def _little(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")


def _signed(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)
