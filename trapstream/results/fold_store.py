"""One partition's store: its entries, its jobs and its place in the log, changed together or not at all.

SQLite in WAL mode with synchronous=FULL: a commit is on the disk. Entries are kept as blocks (`results/blocks.py`),
and the offset of the next record to fold stands in the same transaction, so a kill leaves either both or neither. One
thread writes; `results/entries.py` reads beside it with connections of its own.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from trapstream.core import faults
from trapstream.core.errors import Fatal, Retryable
from trapstream.results import blocks
from trapstream.results.database import connect, lock, refusals
from trapstream.results.entries import FILE, Codes, Places, add_up, key_range, read_pieces
from trapstream.results.fold import PIECE, PIECE_BITS, JobFold, Result, fold

_FORMAT = 1
_DROP = 64
"""Blocks deleted in one transaction: short enough to go between two folds."""

_SCHEMA = """
create table if not exists meta (name text primary key, value integer) without rowid;
create table if not exists jobs (number integer primary key, job text unique not null, repeated integer not null,
  mark blob);
create table if not exists notes (number integer primary key, note blob not null);
create table if not exists blocks (key integer primary key, codes blob not null, seqs blob not null,
  lengths blob not null, data blob not null);
"""


class Mark(msgspec.Struct, frozen=True):
    """A job's end, kept so that it ends once: later results of it are ignored."""

    status: msgspec.Raw
    """The final JobStatus as it goes to Kafka: sent again, it is the same bytes."""
    announced: bool = False
    """Kafka has acknowledged it."""
    dropped: bool = False
    """The job's blocks are gone."""


class Note(msgspec.Struct, frozen=True):
    """What must be known of a job after a kill, beside its entries."""

    attempts: int = 0
    """How often its missing images were published again, each time to the last of them."""
    ended: bool = False
    """It had ended before, without this store, and its file is gone: it is never published again."""
    cut: int | None = None
    """It was stopped: results from this offset of the log on do not count."""


class StoredJob(msgspec.Struct):
    """One job of the partition."""

    number: int
    """Its number in this store."""
    fold: JobFold
    mark: Mark | None = None
    note: Note = Note()
    closed: bool = False
    """No result counts any more: it has a mark, or is cut."""


class Change(NamedTuple):
    """What a batch did to one job. A copy, so that other threads may read it."""

    fresh: int
    """Images that got their entry."""
    repeats: int
    """Results that came again, or after the job's end."""
    tally: dict[int, int]
    """Code to count, after the batch."""
    repeated: int
    """Results that came again, after the batch."""


class Store:
    """The store of one partition. Its methods belong to one thread at a time."""

    def __init__(self, folder: Path, durable: bool = True) -> None:
        """Opens the store in `folder`, or makes it.

        Retryable while another process has it or the disk refuses; Fatal if it is damaged. `durable` off is for
        stores that live as long as one process.
        """
        self._path = folder / FILE
        self.jobs: dict[str, StoredJob] = {}
        self.next_offset: int | None = None
        """The next record of the log to fold; None for a new store."""
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(os.close, lock(folder / "lock"))
                self._db = stack.enter_context(contextlib.closing(connect(self._path, durable)))
                self._load()
            except (OSError, sqlite3.OperationalError) as error:
                raise Retryable(f"{folder}: {error}") from error
            except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
                raise Fatal(
                    f"{folder} is damaged ({error}); move it away, and it is made again from the log"
                ) from error
            self._close = stack.pop_all()

    def close(self) -> None:
        """Closes the store and lets other processes have it."""
        self._close.close()

    def fold(self, results: Iterable[Result], next_offset: int) -> dict[str, Change]:
        """Folds a batch and moves the place in the log to `next_offset`, in one transaction. What changed, by job.

        Retryable if the disk refuses: then nothing has happened on the disk, and the store must be opened anew.
        """
        groups: dict[tuple[int, int], list[Result]] = {}
        fresh: dict[str, int] = {}
        repeats: dict[str, int] = {}
        with self._transaction():
            for result in results:
                stored = self.jobs.get(result.job) or self._add(result.job)
                if stored.closed or not fold(stored.fold, result.seq, result.code):
                    repeats[result.job] = repeats.get(result.job, 0) + 1
                    continue
                fresh[result.job] = fresh.get(result.job, 0) + 1
                group = groups.get((stored.number, result.seq >> PIECE_BITS))
                if group is None:
                    groups[stored.number, result.seq >> PIECE_BITS] = [result]
                else:
                    group.append(result)
            self._db.executemany(
                "insert into blocks values (?, ?, ?, ?, ?)",
                (blocks.pack(number, group) for (number, _), group in groups.items()),
            )
            self._db.executemany(
                "update jobs set repeated = ? where number = ?",
                [(self.jobs[job].fold.repeated, self.jobs[job].number) for job in repeats],
            )
            self._db.execute("insert or replace into meta values ('next', ?)", (next_offset,))
            faults.reach("fold.within-3")
        self.next_offset = next_offset
        changes = {}
        for job in fresh.keys() | repeats.keys():
            state = self.jobs[job].fold
            changes[job] = Change(fresh.get(job, 0), repeats.get(job, 0), dict(state.tally), state.repeated)
        return changes

    def set_mark(self, job: str, mark: Mark) -> None:
        """Writes a job's end down, in a transaction of its own. Retryable as `fold`."""
        with self._transaction():
            stored = self.jobs.get(job) or self._add(job)
            self._db.execute("update jobs set mark = ? where number = ?", (msgspec.json.encode(mark), stored.number))
        stored.mark, stored.closed = mark, True
        stored.fold.seen.clear()  # the mark answers for them now

    def set_notes(self, notes: Mapping[str, Note]) -> None:
        """Writes down what is to be known of some jobs, in a transaction of its own. Retryable as `fold`."""
        with self._transaction():
            rows = [((self.jobs.get(job) or self._add(job)).number, note) for job, note in notes.items()]
            self._db.executemany(
                "insert or replace into notes values (?, ?)",
                [(number, msgspec.json.encode(note)) for number, note in rows],
            )
        for job, note in notes.items():
            stored = self.jobs[job]
            stored.note, stored.closed = note, stored.mark is not None or note.cut is not None

    def cut(self, job: str) -> int:
        """Lets no further result of a job count. The offset from which on they do not; the first call decides."""
        note = self.note_of(job)
        if note.cut is None:
            note = msgspec.structs.replace(note, cut=self.next_offset or 0)
            self.set_notes({job: note})
        assert note.cut is not None
        return note.cut

    def note_of(self, job: str) -> Note:
        """What is known of a job."""
        stored = self.jobs.get(job)
        return stored.note if stored else Note()

    def seen(self, job: str, piece: int) -> bytes:
        """Which images of a piece have their entry: one bit for each, the lowest first."""
        stored = self.jobs.get(job)
        bits = stored.fold.seen.get(piece) if stored else None
        return bytes(bits) if bits is not None else bytes(PIECE // 8)

    def drop_some(self, job: str) -> bool:
        """Deletes a few of a job's blocks. False once none is left. Retryable as `fold`."""
        low, high = key_range(self.jobs[job].number)
        with self._transaction():
            gone = self._db.execute(
                "delete from blocks where key in (select key from blocks where key >= ? and key < ? limit ?)",
                (low, high, _DROP),
            ).rowcount
        with refusals(self._path):
            self._db.execute(f"pragma incremental_vacuum({_DROP * 256})").fetchall()
        return gone > 0

    def forget(self, job: str) -> None:
        """Removes whatever is kept of a job. Retryable as `fold`."""
        if job not in self.jobs:
            return
        number = self.jobs[job].number
        with self._transaction():
            self._db.execute("delete from blocks where key >= ? and key < ?", key_range(number))
            self._db.execute("delete from notes where number = ?", (number,))
            self._db.execute("delete from jobs where number = ?", (number,))
        del self.jobs[job]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with refusals(self._path):
            self._db.execute("begin immediate")
            try:
                yield
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def _add(self, job: str) -> StoredJob:
        number = self._db.execute("insert into jobs (job, repeated) values (?, 0)", (job,)).lastrowid
        assert number is not None
        stored = self.jobs[job] = StoredJob(number, JobFold())
        return stored

    def _load(self) -> None:
        self._db.executescript(_SCHEMA)
        meta = dict(self._db.execute("select name, value from meta"))
        if meta.setdefault("format", _FORMAT) != _FORMAT:
            raise Fatal(
                f"{self._path} is of another version of this program; move it away to make it again from the log"
            )
        self._db.execute("insert or ignore into meta values ('format', ?)", (_FORMAT,))
        self.next_offset = meta.get("next")
        notes = {
            number: msgspec.json.decode(note, type=Note) for number, note in self._db.execute("select * from notes")
        }
        for number, job, repeated, mark in self._db.execute("select number, job, repeated, mark from jobs"):
            state = JobFold(repeated=repeated)
            note = notes.get(number, Note())
            ended = msgspec.json.decode(mark, type=Mark) if mark else None
            self.jobs[job] = StoredJob(number, state, ended, note, closed=bool(mark) or note.cut is not None)
            if not mark:
                low, high = key_range(number)
                for start, codes, seqs in read_pieces(self._db, low, high):
                    _take_again(state, (start - low) >> PIECE_BITS, codes, seqs)


def _take_again(state: JobFold, piece: int, codes: Codes, seqs: Places) -> None:
    """Puts a stored piece back into the fold's memory."""
    there = np.zeros(PIECE, dtype=np.uint8)
    there[seqs] = 1
    state.seen[piece] = bytearray(np.packbits(there, bitorder="little").tobytes())
    add_up(state.tally, codes)
    state.highest = (piece << PIECE_BITS) + int(seqs.max())
