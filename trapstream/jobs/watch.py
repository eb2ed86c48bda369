"""Watching a folder: each image that is whole goes to the producer's API, as if a camera had uploaded it.

The bytes are uploaded, not referred to: so the folder may be cleaned up without harm to a job.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import aiohttp
from watchfiles import awatch

from trapstream.core import json_codec, retry
from trapstream.core.errors import Retryable, TrapstreamError
from trapstream.jobs.ends import is_whole
from trapstream.jobs.folder import Found, Memory, find, scan
from trapstream.jobs.manifest import Notes, as_text

_MOST = 5_000
"""Files that wait at once; the rest is found by the next look at the whole folder."""
_TOGETHER = 4
"""Uploads at once."""
_TICK_MS = 250
_RESCAN_SECONDS = 60.0
"""The system may drop messages about a busy folder, and gives none for some network disks."""
_CUT_SECONDS = 60.0
"""After which an image without its end counts as whole if it has not changed: a slow sender may go on until then."""
_ASK_SECONDS = 120.0

Say = Callable[[str], None]


class WatchError(TrapstreamError):
    """The folder cannot be watched. The text is one line that says what to do."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A folder to watch, and the address that its images go to."""

    folder: Path
    series: str
    api: str
    """http://host:port of a producer."""
    key: str | None
    memory: Path
    settle_seconds: float
    """A file that has not changed for this time is whole."""
    webhook: tuple[str, str] | None = None
    """An address that the results are sent to, and its filter."""


@dataclass
class _Wait:
    found: Found
    """The file as it was last found."""
    since: float
    """When it was first found so."""
    is_cut: bool | None = None
    """Whether it had no end when it was looked at; it has not changed since."""


async def watch(watched: Watched, stop: asyncio.Event, say: Say) -> None:
    """Until `stop`. Survives a folder that goes and comes back, and a producer that is away. WatchError."""
    memory = _remembered(watched)
    headers = {"Authorization": f"Bearer {watched.key}"} if watched.key else {}
    timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            watcher = _Watcher(watched, memory, session, say)
            said = False
            while not stop.is_set():
                if watched.folder.is_dir():
                    said = False
                    await watcher.while_there(stop)
                elif not said:
                    said = True
                    say(f"{watched.folder} is not there: waiting for it")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_MS / 1000):
                        await stop.wait()
    finally:
        memory.close()


def _remembered(watched: Watched) -> Memory:
    try:
        memory = Memory(watched.memory)
        fcntl.flock(memory.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WatchError(f"{watched.folder} is watched for {watched.series} already, by another process") from None
    except OSError as error:
        raise WatchError(f"{watched.memory} cannot be written: {error.strerror}; permit it") from error
    return memory


class _Watcher:
    """The files that wait to be whole, and those on their way."""

    def __init__(self, watched: Watched, memory: Memory, session: aiohttp.ClientSession, say: Say) -> None:
        self._watched, self._memory, self._session, self._say = watched, memory, session, say
        self._folder = os.fsencode(watched.folder)
        self._waiting: dict[bytes, _Wait] = {}
        self._rescan_at = 0.0
        self._left_out: set[str] = set()
        """Folders that were told to be left out."""

    async def while_there(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until the folder is gone or another one."""
        identity = _identity(self._watched.folder)
        self._waiting.clear()
        self._rescan_at = 0.0
        self._say(f"watching {self._watched.folder} for {self._watched.series}")
        async with contextlib.aclosing(_changes(self._watched.folder, stop)) as changes:
            async for paths in changes:
                if identity is None or _identity(self._watched.folder) != identity:
                    return
                for path in paths:
                    if (found := find(self._folder, path)) is not None:
                        self._wait_for(found)
                if time.monotonic() >= self._rescan_at:
                    await asyncio.to_thread(self._rescan)
                await self._send_whole(stop)

    def _rescan(self) -> None:
        notes = Notes()
        new = (found for found in scan(self._folder, notes) if not self._memory.has(found))
        count = 0
        for found in islice(new, _MOST):
            count += 1
            self._wait_for(found)
        left_out = {name for names in notes.names.values() for name in names}
        if not left_out <= self._left_out:
            self._left_out |= left_out
            for line in notes.lines():
                self._say(line)
        self._rescan_at = time.monotonic() + (1.0 if count == _MOST else _RESCAN_SECONDS)

    def _wait_for(self, found: Found) -> None:
        known = self._waiting.get(found.path)
        if self._memory.has(found) or (known is not None and known.found == found):
            return
        if known is not None or len(self._waiting) < _MOST:
            self._waiting[found.path] = _Wait(found, time.monotonic())

    async def _send_whole(self, stop: asyncio.Event) -> None:
        whole = []
        for path, wait in list(self._waiting.items()):
            now = find(self._folder, path)
            if now is None:
                del self._waiting[path]
            elif now != wait.found:
                self._waiting[path] = _Wait(now, time.monotonic())
            elif await self._is_still(wait, time.monotonic() - wait.since):
                whole.append(now)
        for start in range(0, len(whole), _TOGETHER):
            if stop.is_set():
                return
            await asyncio.gather(*(self._send(found, stop) for found in whole[start : start + _TOGETHER]))

    async def _is_still(self, wait: _Wait, seconds: float) -> bool:
        """Whether a file that has not changed for `seconds` is whole."""
        if seconds < self._watched.settle_seconds:
            return False
        if seconds >= _CUT_SECONDS:
            return True
        if wait.is_cut is None:
            wait.is_cut = await asyncio.to_thread(_is_cut, self._path(wait.found))
        return not wait.is_cut

    async def _send(self, found: Found, stop: asyncio.Event) -> None:
        """One file. Returns once the producer has it for good, or never will."""
        name = as_text(found.path)

        async def once() -> bool:
            if stop.is_set():
                return False
            try:
                handle = os.open(self._path(found), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return False  # gone meanwhile
            with os.fdopen(handle, "rb") as file:
                return await self._post(name, file.read(found.stamp.size + 1), found)

        if await retry.until_back(once, "uploads"):
            self._memory.add(found)
        self._waiting.pop(found.path, None)

    async def _post(self, name: str, data: bytes, found: Found) -> bool:
        if len(data) != found.stamp.size or find(self._folder, found.path) != found:
            return False  # it grew just now: the next look finds it
        query = {"job": self._watched.series, "file": name}
        if self._watched.webhook is not None:
            query["webhook"], query["webhook_filter"] = self._watched.webhook
        try:
            async with self._session.post(f"{self._watched.api}/v1/images", params=query, data=data) as answer:
                status, text = answer.status, await _said(answer)
                again = float(answer.headers.get("Retry-After", "0") or 0)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Retryable(f"{self._watched.api} does not answer ({type(error).__name__})") from None
        if status in (401, 403):
            raise WatchError(f"{self._watched.api} refuses the uploads: {text}; give a valid key with --key-file")
        if status in (408, 429) or status >= 500:
            await asyncio.sleep(min(again, 5.0))
            raise Retryable(f"{self._watched.api} answers {status}: {text}")
        if status >= 400:
            self._say(f"{name} is not taken: {text}")
        return True

    def _path(self, found: Found) -> bytes:
        return os.path.join(self._folder, found.path)  # noqa: PTH118 - names are bytes


async def _changes(folder: Path, stop: asyncio.Event) -> AsyncGenerator[list[bytes], None]:
    """Relative paths of the files that changed, a few times a second; an empty list most of the time."""
    base = os.fsencode(folder) + b"/"
    changes = awatch(
        folder,
        watch_filter=None,
        debounce=200,
        step=50,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        ignore_permission_denied=True,
    )
    try:
        async for some in changes:
            yield [os.fsencode(path).removeprefix(base) for _, path in some]
    except (OSError, RuntimeError) as error:  # the folder went in this very moment, or the system has no watch left
        if _identity(folder) is not None:
            raise WatchError(f"{folder} cannot be watched: {error}") from error


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_cut(path: bytes) -> bool:
    """Whether the image in a file has no end yet."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - names are bytes
            return not is_whole(file)
    except OSError:
        return False


async def _said(answer: aiohttp.ClientResponse) -> str:
    """The reason that the API gives; of another server's answer, which is no JSON, that of its status."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json_codec.decode(await answer.content.read(4096))["error"])
    return answer.reason or ""
