"""Blocks: the entries of one piece of one job that came in one batch, packed for the store. Pure.

A block's key is (job number, its lowest seq). No seq is stored twice, so no two blocks share a key, and keys in order
are pieces in order. A row for each image would cost three times as much.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trapstream.results.fold import PIECE, Result

SEQ_BITS = 27
"""Room for MOST_IMAGES in the low bits of a key."""


class Block(NamedTuple):
    """A row of the store."""

    key: int
    codes: bytes
    """A byte an image."""
    seqs: bytes
    """Place within the piece: two bytes an image, little-endian, rising."""
    lengths: bytes
    """Of the entries: four bytes an image, little-endian."""
    data: bytes
    """The entries, one after the other."""


def key(number: int, seq: int) -> int:
    """The key of the block of job `number` that begins with `seq`."""
    return number << SEQ_BITS | seq


def pack(number: int, items: list[Result]) -> Block:
    """One block of items that share a piece, in any order."""
    items.sort(key=_seq)
    entries = [item.entry for item in items]
    count = len(items)
    return Block(
        key(number, items[0].seq),
        bytes([item.code for item in items]),
        struct.pack(f"<{count}H", *[item.seq & (PIECE - 1) for item in items]),
        struct.pack(f"<{count}I", *map(len, entries)),
        b"".join(entries),
    )


def places(seqs: bytes) -> npt.NDArray[np.uint16]:
    """The places within their piece that `seqs` names."""
    return np.frombuffer(seqs, dtype="<u2")


class Index(NamedTuple):
    """Where the entries of a piece are, in the order of seq."""

    start: list[int]
    """Within the blocks' data put one after the other."""
    end: list[int]


def merge(seqs: Iterable[bytes], lengths: Iterable[bytes], below: int = PIECE) -> Index:
    """The entries of all blocks of one piece in order; only those whose place is less than `below`."""
    found = places(b"".join(seqs))
    ends = np.cumsum(np.frombuffer(b"".join(lengths), dtype="<u4"), dtype=np.int64)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1]))
    order = np.argsort(found, kind="stable")
    order = order[: int(np.count_nonzero(found < below))]
    return Index(starts[order].tolist(), ends[order].tolist())


def slices(index: Index, data: bytes) -> Iterator[bytes]:
    """The entries themselves."""
    return (data[start:end] for start, end in zip(index.start, index.end, strict=True))


def _seq(item: Result) -> int:
    return item.seq
