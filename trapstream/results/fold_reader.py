"""What a store holds of a job, read beside the thread that folds: its account, and its entries in order."""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from trapstream.core.errors import Fatal, Retryable
from trapstream.core.messages import Counts
from trapstream.results import blocks
from trapstream.results.blocks import Codes, Seqs
from trapstream.results.fold import PIECE, counts

FILE = "store.sqlite"
"""The store's file in its folder."""


def read_account(folder: Path, job: str, below: int | None = None) -> Counts:
    """The account of a job's entries with seq < `below`, from the disk. Retryable if it cannot be read."""
    tally: dict[str, int] = {}
    with _reader(folder / FILE) as db:
        low, top = _keys(db, job, below)
        kinds = dict(db.execute("select code, kind from kinds"))
        for start, codes, seqs in read_pieces(db, low, top):
            there = codes if below is None else codes[seqs < below - (start - low)]
            blocks.add_up(tally, there, kinds)
    return counts(tally)


def read_entries(folder: Path, job: str, below: int | None = None) -> Iterator[bytes]:
    """A job's entries with seq < `below` in the order of seq, from the disk, a piece in memory at a time.

    It has its own connection, so it may run beside the thread that folds. Retryable if it cannot be read.
    """
    with _reader(folder / FILE) as db:
        low, top = _keys(db, job, below)
        piece = low
        while True:
            row = db.execute("select min(key) from blocks where key >= ? and key < ?", (piece, top)).fetchone()
            if row[0] is None:
                return
            piece = row[0] & -PIECE
            yield from _piece(db, piece, PIECE if below is None else below - (piece - low))
            piece += PIECE


def _piece(db: sqlite3.Connection, piece: int, below: int) -> Iterator[bytes]:
    query = "select seqs, lengths, data from blocks where key >= ? and key < ? order by key"
    rows = db.execute(query, (piece, piece + PIECE)).fetchall()
    data = b"".join(row[2] for row in rows)
    for start, end in blocks.merge([row[0] for row in rows], [row[1] for row in rows], below):
        yield data[start:end]


def read_pieces(db: sqlite3.Connection, low: int, high: int) -> Iterator[tuple[int, Codes, Seqs]]:
    """The key at which each piece begins, and the codes and seqs of its entries, without the entries themselves."""
    rows = db.execute("select key, codes, seqs from blocks where key >= ? and key < ? order by key", (low, high))
    for start, group in itertools.groupby(rows, lambda row: int(row[0]) & -PIECE):
        some = list(group)
        codes = np.frombuffer(b"".join(row[1] for row in some), dtype=np.uint8)
        yield start, codes, blocks.unpack_seqs(b"".join(row[2] for row in some))


def _keys(db: sqlite3.Connection, job: str, below: int | None) -> tuple[int, int]:
    """The range of keys that holds a job's entries with seq < `below`; an empty one for a job that is not there."""
    row = db.execute("select number from jobs where job = ?", (job,)).fetchone()
    if row is None:
        return 0, 0
    low, high = blocks.key_range(row[0])
    return low, high if below is None else min(high, blocks.key(row[0], below))


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, beside the one that writes. Retryable if it cannot be read."""
    with refusals(path), contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        db.execute("pragma cache_size = -4000")
        yield db


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """A store's errors as this project's: Retryable while the disk refuses, Fatal for a damaged file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Retryable(f"{path}: {error}") from error
    except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
        raise Fatal(f"{path} is damaged ({error}); move its folder away, and it is made again from the log") from error
