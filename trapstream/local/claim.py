"""One supervisor for each home: a lock that ends with its process, and says who holds it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from trapstream.core import json_codec
from trapstream.local import processes
from trapstream.local.home import lock_file
from trapstream.local.state import Process, StackError


class AlreadyRunning(StackError):
    """Another supervisor holds this home."""


@contextlib.contextmanager
def claimed(home: Path) -> Iterator[Process]:
    """Holds the home. Raises AlreadyRunning."""
    home.mkdir(parents=True, exist_ok=True)
    with lock_file(home).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"a stack runs in {home} already; `trapstream down` stops it") from None
        me = processes.identify(os.getpid(), "supervisor")
        file.truncate(0)
        file.write(json_codec.encode_indented({"pid": me.pid, "created": me.created}))
        file.flush()
        try:
            yield me
        finally:
            file.truncate(0)


def identity(home: Path) -> tuple[int, int] | None:
    """Device and inode of the lock: another one, or None, where the home was deleted, moved away or made anew."""
    try:
        found = lock_file(home).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def supervisor(home: Path) -> psutil.Process | None:
    """The process that supervises this home, or None."""
    try:
        holder = json_codec.decode(lock_file(home).read_text())
        return processes.find(Process(name="supervisor", **holder))
    except (OSError, ValueError, TypeError):
        return None
