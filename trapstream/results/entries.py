"""What a store holds of a job, read beside the thread that folds: its account, and its entries in order."""

import bisect
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trapstream.results import blocks
from trapstream.results.database import reader
from trapstream.results.fold import PIECE

FILE = "store.sqlite"
"""The store's file in its folder."""
_LARGE_PIECE = 32 * 1024 * 1024
"""Bytes of entries in a piece beyond which they are read one by one."""

Codes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.uint16]


def read_tally(folder: Path, job: str, below: int | None = None) -> dict[int, int]:
    """Code to count of a job's entries with seq < `below`, from the disk. Retryable if it cannot be read."""
    tally: dict[int, int] = {}
    with reader(folder / FILE) as db:
        number = _number(db, job)
        if number is None:
            return tally
        low, high = key_range(number)
        top = high if below is None else min(high, blocks.key(number, below))
        for start, codes, seqs in read_pieces(db, low, top):
            there = codes if below is None else codes[seqs < below - (start - low)]
            add_up(tally, there)
    return tally


def read_entries(folder: Path, job: str, below: int | None = None) -> Iterator[bytes]:
    """A job's entries with seq < `below` in the order of seq, from the disk, a piece in memory at a time.

    It has its own connection, so it may run beside the thread that folds. Retryable if it cannot be read.
    """
    with reader(folder / FILE) as db:
        number = _number(db, job)
        if number is None:
            return
        low, high = key_range(number)
        top = high if below is None else min(high, blocks.key(number, below))
        piece = low
        while True:
            row = db.execute("select min(key) from blocks where key >= ? and key < ?", (piece, top)).fetchone()
            if row[0] is None:
                return
            piece = row[0] & -PIECE
            yield from _piece(db, piece, PIECE if below is None else below - (piece - low))
            piece += PIECE


def _piece(db: sqlite3.Connection, piece: int, below: int) -> Iterator[bytes]:
    where = "from blocks where key >= ? and key < ? order by key"
    keys = (piece, piece + PIECE)
    rows = db.execute(f"select seqs, lengths, length(data), key {where}", keys).fetchall()
    index = blocks.merge([row[0] for row in rows], [row[1] for row in rows], below)
    if sum(row[2] for row in rows) <= _LARGE_PIECE:
        data = b"".join(row[0] for row in db.execute(f"select data {where}", keys))
        yield from blocks.slices(index, data)
        return
    starts = list(itertools.accumulate((row[2] for row in rows), initial=0))
    for start, end in zip(index.start, index.end, strict=True):
        row = bisect.bisect_right(starts, start) - 1
        with db.blobopen("blocks", "data", rows[row][3], readonly=True) as blob:
            blob.seek(start - starts[row])
            yield blob.read(end - start)


def read_pieces(db: sqlite3.Connection, low: int, high: int) -> Iterator[tuple[int, Codes, Places]]:
    """The key at which each piece begins, and the codes and places of its entries, without the entries themselves."""
    rows = db.execute("select key, codes, seqs from blocks where key >= ? and key < ? order by key", (low, high))
    for start, group in itertools.groupby(rows, lambda row: int(row[0]) & -PIECE):
        some = list(group)
        codes = np.frombuffer(b"".join(row[1] for row in some), dtype=np.uint8)
        yield start, codes, blocks.places(b"".join(row[2] for row in some))


def add_up(tally: dict[int, int], codes: Codes) -> None:
    """Counts codes into `tally`."""
    for code, count in enumerate(np.bincount(codes).tolist()):
        if count:
            tally[code] = tally.get(code, 0) + count


def key_range(number: int) -> tuple[int, int]:
    """The keys of a job's blocks: the first, and the one after the last."""
    return blocks.key(number, 0), blocks.key(number + 1, 0)


def _number(db: sqlite3.Connection, job: str) -> int | None:
    row = db.execute("select number from jobs where job = ?", (job,)).fetchone()
    return None if row is None else int(row[0])
