"""Which producer takes live images: the one that holds a lock in the result store. The others stand by."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from trapstream.core import log, retry
from trapstream.core.errors import Retryable
from trapstream.core.store import live_folder

_EVERY = 0.5


@contextlib.asynccontextmanager
async def owned(results: Path) -> AsyncIterator[None]:
    """Waits until this process alone may give images their places. The system frees the lock of one that dies."""
    handle = await retry.until_back(lambda: asyncio.to_thread(_open, results), "result store")
    said = False
    try:
        while not _locked(handle):
            if not said:
                log.get_logger().info("standing by: another producer takes the uploads of this result store")
                said = True
            await asyncio.sleep(_EVERY)
        yield
    finally:
        os.close(handle)


def _open(results: Path) -> int:
    folder = live_folder(results)
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
