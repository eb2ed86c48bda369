"""The file under a store: opened, locked, and its refusals said in this project's words."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from trapstream.core.errors import Fatal, Retryable


def lock(path: Path) -> int:
    """A descriptor that keeps other processes out until it is closed. Retryable while another holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Retryable(f"{path.parent} is held by another aggregator") from error
    return handle


def connect(path: Path, durable: bool) -> sqlite3.Connection:
    """A connection that may write."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    db.execute("pragma auto_vacuum = incremental")
    db.execute("pragma journal_mode = wal" if durable else "pragma journal_mode = off")
    db.execute(f"pragma synchronous = {'full' if durable else 'off'}")
    db.execute("pragma wal_autocheckpoint = 8000")  # 32 MB: each checkpoint costs two syncs
    db.execute("pragma journal_size_limit = 67108864")
    db.execute("pragma cache_size = -1000")  # blocks are written once and in order: more only grows, and helps nothing
    return db


@contextlib.contextmanager
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, beside the one that writes. Retryable if it cannot be read."""
    with refusals(path), contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        db.execute("pragma cache_size = -4000")
        yield db


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """SQLite's errors as this project's: Retryable while the disk refuses, Fatal for a damaged file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Retryable(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Fatal(f"{path} is damaged ({error}); move its folder away, and it is made again from the log") from error
