"""Blocks: the entries of one piece of one job that came in one batch, packed for the store. Pure.

A block's key is (job number, its lowest seq). No seq is stored twice, so no two blocks share a key, and keys in order
are pieces in order. A row for each image would cost three times as much.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trapstream.results.fold import PIECE, Result

OTHER = "another reason"
"""The kind of a failure whose reason would be the 257th kind of one store. No program sends so many."""

CODES: dict[str, int] = {
    "detected": 0,
    "empty": 1,
    "not found": 2,
    "no permission": 3,
    "not a file": 4,
    "forbidden location": 5,
    "unsupported address": 6,
    "server answered with an error": 7,
    "server not reachable": 8,
    "timed out": 9,
    "file too large": 10,
    "empty file": 11,
    "not an image": 12,
    "damaged image": 13,
    "too many pixels": 14,
    "the model refused the image": 15,
    "never answered": 16,
    "too costly to decode": 17,
    OTHER: 18,
}
"""The kinds of results that every store begins with, each as one byte. Stores of the first versions hold no other list:
never change a number, and add none. A reason that is new gets the next number of each store that meets it."""
MOST_CODES = 256

_SEQ_BITS = 27
"""Enough for MOST_IMAGES in the low bits of a key."""

Codes = npt.NDArray[np.uint8]
Seqs = npt.NDArray[np.uint16]


class Block(NamedTuple):
    """A row of the store."""

    key: int
    codes: bytes
    """A byte an image."""
    seqs: bytes
    """Within the piece: two bytes an image, little-endian, rising."""
    lengths: bytes
    """Of the entries: four bytes an image, little-endian."""
    data: bytes
    """The entries, one after the other."""


def key(number: int, seq: int) -> int:
    """The key of the block of job `number` that begins with `seq`."""
    return number << _SEQ_BITS | seq


def key_range(number: int) -> tuple[int, int]:
    """The keys of a job's blocks: the first, and the one after the last."""
    return key(number, 0), key(number + 1, 0)


def pack(number: int, items: list[Result], codes: Mapping[str, int]) -> Block:
    """One block of items that share a piece, in any order. `codes`: those of the store."""
    items.sort(key=_seq)
    entries = [item.entry for item in items]
    count = len(items)
    return Block(
        key(number, items[0].seq),
        bytes([codes[item.kind] for item in items]),
        struct.pack(f"<{count}H", *[item.seq & (PIECE - 1) for item in items]),
        struct.pack(f"<{count}I", *map(len, entries)),
        b"".join(entries),
    )


def unpack_seqs(seqs: bytes) -> Seqs:
    """The seqs within their piece."""
    return np.frombuffer(seqs, dtype="<u2")


def bitmap(seqs: Seqs) -> bytearray:
    """One bit for each image of a piece, set where `seqs` has it."""
    there = np.zeros(PIECE, dtype=np.uint8)
    there[seqs] = 1
    return bytearray(np.packbits(there, bitorder="little").tobytes())


def add_up(tally: dict[str, int], codes: Codes, kinds: Mapping[int, str]) -> None:
    """Counts a piece's codes into `tally`, by kind. `kinds`: what each code means in the store."""
    for code, count in enumerate(np.bincount(codes).tolist()):
        if count:
            tally[kinds[code]] = tally.get(kinds[code], 0) + count


def merge(seqs: Iterable[bytes], lengths: Iterable[bytes], below: int = PIECE) -> list[tuple[int, int]]:
    """Where the entries of one piece are, in the order of seq, those with a seq within the piece less than `below`.

    Start and end of each, within the data of the piece's blocks put one after the other.
    """
    found = unpack_seqs(b"".join(seqs))
    ends = np.cumsum(np.frombuffer(b"".join(lengths), dtype="<u4"), dtype=np.int64)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1]))
    order = np.argsort(found, kind="stable")[: int(np.count_nonzero(found < below))]
    return list(zip(starts[order].tolist(), ends[order].tolist(), strict=True))


def _seq(item: Result) -> int:
    return item.seq
