"""A lock in a folder, for work that only one copy of a service may do. The other copies stand by."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from trapstream.core import log, retry
from trapstream.core.errors import Retryable

_EVERY = 0.5


@contextlib.asynccontextmanager
async def owned(folder: Path, what: str) -> AsyncIterator[None]:
    """Waits until this process alone has `folder`. The system frees the lock of one that dies.

    `what`: the work that another process does meanwhile, for the log.
    """
    handle = await retry.until_back(lambda: asyncio.to_thread(_open, folder), "result store")
    said = False
    try:
        while not _locked(handle):
            if not said:
                log.get_logger().info(f"standing by: another {what}")
                said = True
            await asyncio.sleep(_EVERY)
        yield
    finally:
        os.close(handle)


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Retryable(f"{folder}: {error.strerror}") from error


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
