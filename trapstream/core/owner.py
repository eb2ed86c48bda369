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
    said = False
    while (handle := await retry.until_back(lambda: asyncio.to_thread(lock, folder), "result store")) is None:
        if not said:
            log.get_logger().info(f"standing by: another {what}")
            said = True
        await asyncio.sleep(_EVERY)
    try:
        yield
    finally:
        os.close(handle)


def lock(folder: Path) -> int | None:
    """A descriptor that keeps other processes out of `folder` until it is closed; None while another one has it.

    Retryable if the disk refuses. It blocks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Retryable(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
