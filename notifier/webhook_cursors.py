"""How far each webhook has come: a small SQLite file, since it must survive a kill, and is written for each event."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from trapstream.core.errors import Fatal, Retryable

FILE = "deliveries.sqlite"
_KEPT = 1_000
"""Cameras whose cool-down outlives a restart."""


class Cursor(NamedTuple):
    """Where a webhook goes on."""

    offset: int
    """All results before it were delivered, given up, or did not pass the filter."""
    last_sent: dict[str | None, float]
    """Camera to the time of its last result that was sent, in seconds since 1970."""
    done: bool = False
    """The job has ended, and all of its results were sent."""


class _CameraTime(msgspec.Struct, frozen=True, array_like=True):
    camera: str | None
    time: float


_decoder = msgspec.json.Decoder(list[_CameraTime])


class WebhookCursors:
    """The file, for one process. Each call blocks for a moment, and is Retryable while the disk refuses."""

    def __init__(self, folder: Path) -> None:
        """Retryable; Fatal for a damaged file."""
        self._path = folder / FILE
        with self._refusals():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
            # Without a sync for each event: a power cut may cost the last ones, which are then delivered again.
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            self._db.execute(
                "create table if not exists places"
                " (job text, url text, offset int, rang text, done int, primary key (job, url)) without rowid"
            )

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def get(self, job: str, url: str) -> Cursor | None:
        """Where a webhook goes on; None for one that never began."""
        with self._refusals():
            row = self._db.execute(
                "select offset, rang, done from places where job = ? and url = ?", (job, _digest(url))
            ).fetchone()
            if row is None:
                return None
            return Cursor(row[0], {each.camera: each.time for each in _decoder.decode(row[1])}, bool(row[2]))

    def put(self, job: str, url: str, cursor: Cursor) -> None:
        """Keeps where a webhook goes on."""
        newest = sorted(cursor.last_sent.items(), key=lambda item: item[1])[-_KEPT:]
        times = msgspec.json.encode([_CameraTime(camera, time) for camera, time in newest]).decode()
        with self._refusals():
            self._db.execute(
                "insert or replace into places values (?, ?, ?, ?, ?)",
                (job, _digest(url), cursor.offset, times, int(cursor.done)),
            )

    def keep_only(self, jobs: Collection[str]) -> None:
        """Removes the cursors of all other jobs."""
        with self._refusals():
            known = {row[0] for row in self._db.execute("select distinct job from places")}
            self._db.executemany("delete from places where job = ?", [(job,) for job in known.difference(jobs)])

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise Retryable(f"{self._path}: {error}") from error
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            raise Fatal(
                f"{self._path} is damaged ({error}); move it away: what was delivered of open jobs is delivered again"
            ) from error


def _digest(url: str) -> str:
    """Of the address: it may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()
