"""One partition's store: its entries, its jobs and its offset in the log, changed together or not at all.

SQLite in WAL mode with synchronous=FULL: a commit is on the disk. Entries are kept as blocks (`results/blocks.py`),
and the offset of the next record to fold stands in the same transaction, so a kill leaves either both or neither. One
thread writes; `results/fold_reader.py` reads beside it with connections of its own.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from trapstream.core import faults
from trapstream.core.errors import Fatal, Retryable
from trapstream.core.messages import Counts
from trapstream.core.owner import lock
from trapstream.results import blocks
from trapstream.results.blocks import key_range
from trapstream.results.fold import PIECE_BITS, JobFold, Result, counts, fold
from trapstream.results.fold_reader import FILE, read_pieces, refusals

_FORMAT = 1
_DROP = 64
"""Blocks deleted in one transaction: short enough to go between two folds."""

_SCHEMA = """
create table if not exists meta (name text primary key, value integer) without rowid;
create table if not exists kinds (code integer primary key, kind text unique not null);
create table if not exists jobs (number integer primary key, job text unique not null, repeated integer not null,
  mark blob);
create table if not exists notes (number integer primary key, note blob not null);
create table if not exists blocks (key integer primary key, codes blob not null, seqs blob not null,
  lengths blob not null, data blob not null);
"""


class JobEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a job beside its entries, so that it comes to one end whatever is killed on the way.

    The column `jobs.mark` holds it once it has a status, and the table `notes` until then.
    """

    attempts: int = 0
    """How often its missing images were published again, each time to the last of them."""
    file_lost: bool = msgspec.field(default=False, name="ended")
    """It had ended before, without this store, and its file is gone: it is never published again."""
    cut: int | None = None
    """It was stopped: results from this offset of the log on do not count."""
    status: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The final JobStatus as it goes to Kafka: sent again, it is the same bytes. No result counts any more."""
    announced: bool = False
    """Kafka has acknowledged the status."""
    dropped: bool = False
    """The job's blocks are gone."""

    @property
    def has_status(self) -> bool:
        """The job has ended."""
        return self.status is not msgspec.UNSET

    @property
    def closed(self) -> bool:
        """No result counts any more."""
        return self.cut is not None or self.status is not msgspec.UNSET


class StoredJob(msgspec.Struct):
    """One job of the partition."""

    number: int
    """Its number in this store."""
    fold: JobFold
    end: JobEnd = JobEnd()


class Change(NamedTuple):
    """What a batch did to one job. A copy, so that other threads may read it."""

    fresh: int
    """Images that got their entry."""
    repeats: int
    """Results that came again, or after the job's end."""
    counts: Counts
    """The job's account after the batch."""
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
            if (handle := lock(folder)) is None:
                raise Retryable(f"{folder} is held by another aggregator")
            stack.callback(os.close, handle)
            with refusals(self._path):
                self._db = stack.enter_context(contextlib.closing(_connect(self._path, durable)))
                self._load()
            self._close = stack.pop_all()

    def close(self) -> None:
        """Closes the store and lets other processes have it."""
        self._close.close()

    def fold(self, results: Iterable[Result], next_offset: int) -> dict[str, Change]:
        """Folds a batch and sets `next_offset`, in one transaction. What changed, by job.

        Retryable if the disk refuses: then nothing has happened on the disk, and the store must be opened anew.
        """
        jobs, codes = self.jobs, self._codes
        groups: dict[tuple[str, int], list[Result]] = {}
        fresh: dict[str, int] = {}
        repeats: dict[str, int] = {}
        with self._transaction():
            for result in results:
                if result.kind not in codes:
                    result = msgspec.structs.replace(result, kind=self._learn(result.kind))  # noqa: PLW2901
                stored = jobs.get(result.job) or self._add(result.job)
                if stored.end.closed or not fold(stored.fold, result.seq, result.kind):
                    repeats[result.job] = repeats.get(result.job, 0) + 1
                    continue
                group = groups.get((result.job, result.seq >> PIECE_BITS))
                if group is None:
                    groups[result.job, result.seq >> PIECE_BITS] = [result]
                else:
                    group.append(result)
            for (job, _), group in groups.items():
                fresh[job] = fresh.get(job, 0) + len(group)
            self._db.executemany(
                "insert into blocks values (?, ?, ?, ?, ?)",
                (blocks.pack(jobs[job].number, group, codes) for (job, _), group in groups.items()),
            )
            self._db.executemany(
                "update jobs set repeated = ? where number = ?",
                [(jobs[job].fold.repeated, jobs[job].number) for job in repeats],
            )
            self._db.execute("insert or replace into meta values ('next', ?)", (next_offset,))
            faults.reach("fold.within-3")
        self.next_offset = next_offset
        changes = {}
        for job in fresh.keys() | repeats.keys():
            state = jobs[job].fold
            changes[job] = Change(fresh.get(job, 0), repeats.get(job, 0), counts(state.tally), state.repeated)
        return changes

    def set_ends(self, ends: Mapping[str, JobEnd]) -> None:
        """Writes down what is kept of some jobs, in a transaction of its own. Retryable as `fold`."""
        with self._transaction():
            for job, end in ends.items():
                number = (self.jobs.get(job) or self._add(job)).number
                into = "update jobs set mark = ? where number = ?"
                if not end.has_status:
                    into = "insert or replace into notes (note, number) values (?, ?)"
                self._db.execute(into, (msgspec.json.encode(end), number))
        for job, end in ends.items():
            self.jobs[job].end = end
            if end.has_status:
                self.jobs[job].fold.seen.clear()  # the status answers for them now

    def job(self, job: str) -> StoredJob:
        """What is kept of a job: nothing of one that is not there."""
        return self.jobs.get(job) or StoredJob(0, JobFold())

    def change_end(self, job: str, **changes: object) -> JobEnd:
        """Writes down what changes of a job's end, whatever else was written meanwhile; the whole of it."""
        end = msgspec.structs.replace(self.job(job).end, **changes)
        self.set_ends({job: end})
        return end

    def cut(self, job: str) -> JobEnd:
        """Lets no further result of a job count. The first call decides from which offset on they do not."""
        end = self.job(job).end
        return end if end.cut is not None else self.change_end(job, cut=self.next_offset or 0)

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

    def _learn(self, kind: str) -> str:
        """Gives a kind that the store has no code for the next one. The kind that it counts as."""
        code = len(self._codes)
        if code == blocks.MOST_CODES:
            return blocks.OTHER
        self._db.execute("insert into kinds values (?, ?)", (code, kind))
        self._codes[kind] = code
        return kind

    def _load(self) -> None:
        self._db.executescript(_SCHEMA)
        with self._transaction():
            self._db.execute("insert or ignore into meta values ('format', ?)", (_FORMAT,))
            self._db.executemany("insert or ignore into kinds (kind, code) values (?, ?)", blocks.CODES.items())
        meta = dict(self._db.execute("select name, value from meta"))
        if meta["format"] != _FORMAT:
            raise Fatal(
                f"{self._path} is of another version of this program; move it away to make it again from the log"
            )
        self.next_offset = meta.get("next")
        self._codes: dict[str, int] = dict(self._db.execute("select kind, code from kinds"))
        kinds = {code: kind for kind, code in self._codes.items()}
        rows = self._db.execute(
            "select number, job, repeated, coalesce(mark, note) from jobs left join notes using (number)"
        )
        for number, job, repeated, blob in rows:
            end = msgspec.json.decode(blob, type=JobEnd) if blob else JobEnd()
            state = JobFold(repeated=repeated)
            self.jobs[job] = StoredJob(number, state, end)
            if not end.has_status:
                low, high = key_range(number)
                for start, codes, seqs in read_pieces(self._db, low, high):
                    blocks.add_up(state.tally, codes, kinds)
                    state.seen[(start - low) >> PIECE_BITS] = blocks.bitmap(seqs)


def _connect(path: Path, durable: bool) -> sqlite3.Connection:
    """A connection that may write."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    db.execute("pragma auto_vacuum = incremental")
    db.execute("pragma journal_mode = wal" if durable else "pragma journal_mode = off")
    db.execute(f"pragma synchronous = {'full' if durable else 'off'}")
    db.execute("pragma wal_autocheckpoint = 8000")  # 32 MB: each checkpoint costs two syncs
    db.execute("pragma journal_size_limit = 67108864")
    db.execute("pragma cache_size = -1000")  # blocks are written once and in order: more only grows, and helps nothing
    return db
