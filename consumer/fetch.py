"""Fetching the bytes of an image, wherever it is. Whatever goes wrong is the image's one failure, or its host's."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import stamina

from consumer.away import Hosts, Transient
from consumer.file_fetch import read_file, read_files, real_roots
from consumer.http_fetch import HttpFetcher
from consumer.object_fetch import ObjectFetcher
from consumer.uris import host_of, scheme
from trapstream.core import log
from trapstream.core.errors import Permanent, Reason, TrapstreamError
from trapstream.core.messages import Lane
from trapstream.core.result_store import incoming_folder
from trapstream.core.settings import ConsumerSettings

_TOGETHER_SECONDS = 0.005
"""Files that are in the page cache take less than this, eight together."""
_ANSWERS = frozenset({Reason.NOT_FOUND, Reason.NO_PERMISSION, Reason.HTTP_STATUS, Reason.TOO_LARGE, Reason.EMPTY_FILE})
"""What an image fails with at once because its host said so."""


class Fetcher:
    """An async context manager for one event loop. `fetch` may be called many times at once."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self.hosts = Hosts(settings.host_patience_seconds, settings.fetch_seconds)
        """Which servers are away, as of what the fetches met."""
        self._roots = real_roots([*settings.roots, incoming_folder(settings.results)])
        self._objects = ObjectFetcher(settings.fetch_seconds, settings.max_bytes)
        self._most = settings.fetches * len(Lane)  # neither lane waits for what the other's fetches have taken
        self._threads = ThreadPoolExecutor(self._most, thread_name_prefix="fetch")

    async def __aenter__(self) -> Self:
        self._web = HttpFetcher(self._most, self._settings.max_bytes, self._settings.allow_private_networks)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._web.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, uri: str) -> bytes:
        """The bytes behind `uri`: file://, http(s)://, s3://, gs:// or az://. Never empty.

        Permanent for everything that goes wrong. Each attempt may take `fetch_seconds`; what may go away by itself is
        tried `fetch_attempts` times. The failure's text depends on the fault alone and holds no secret. Transient
        where the fault may be the host's, which answered nothing else meanwhile: no attempt is spent on one that is
        away.
        """
        try:
            data = await self._tried(uri)
        except TrapstreamError:
            raise
        except Exception as error:  # an image must not end the process, whatever a library raises
            log.get_logger().error("fetch failed unexpectedly", host=host_of(uri), error=type(error).__name__)
            raise Permanent(Reason.UNREACHABLE, type(error).__name__) from error
        if not data:
            raise Permanent(Reason.EMPTY_FILE)
        return data

    async def fetch_files(self, uris: Sequence[str]) -> list[bytes | Permanent | None]:
        """The bytes of local files, or why not, read by one thread; None for those that are to be fetched one by one.

        Handing one file to a thread costs several times what reading it does, where it is in the page cache.
        """
        read: list[bytes | Permanent | None] = []
        work = functools.partial(read_files, uris, self._roots, self._settings.max_bytes, _TOGETHER_SECONDS, read)
        with contextlib.suppress(TimeoutError):  # the file that it waits for is tried once more, by itself
            async with asyncio.timeout(self._settings.fetch_seconds):
                await asyncio.get_running_loop().run_in_executor(self._threads, work)
        done = read.copy()  # a thread that is late may still add to it
        return [*done, *[None] * (len(uris) - len(done))]

    async def _tried(self, uri: str) -> bytes:
        """The bytes after a few attempts with back-off, as long as the host is not away."""
        began, host = time.monotonic(), host_of(uri)
        failure: Permanent | None = None

        def is_away() -> bool:
            return host is not None and self.hosts.is_away(host)

        try:
            async for trial in stamina.retry_context(
                on=lambda error: isinstance(error, Transient) and not is_away(),
                attempts=self._settings.fetch_attempts, timeout=None, wait_initial=0.2, wait_max=5.0, wait_jitter=0.2,
            ):  # fmt: skip
                with trial:
                    if failure is not None and is_away():  # others found that out meanwhile
                        raise Transient(failure.reason, failure.detail)
                    try:
                        return await (self._once(uri) if host is None else self._asked(host, uri, began))
                    except Transient as error:
                        failure = error.final()
                        raise
        except Transient as error:
            if host is not None and (is_away() or self.hosts.in_doubt(host, began)):
                raise
            raise error.final() from None
        raise AssertionError("the last attempt returns or raises")

    async def _asked(self, host: str, uri: str, began: float) -> bytes:
        """One attempt, whose outcome says how the host does."""
        try:
            data = await self._once(uri)
        except Transient as error:
            self.hosts.failed(host, uri, error.final(), began, time.monotonic())
            raise
        except Permanent as error:
            if error.reason in _ANSWERS:
                self.hosts.answered(host, time.monotonic())
            raise
        self.hosts.answered(host, time.monotonic())
        return data

    async def _once(self, uri: str) -> bytes:
        try:
            async with asyncio.timeout(self._settings.fetch_seconds):
                return await self._fetch(uri)
        except TimeoutError:
            text = f"{self._settings.fetch_seconds:g} s"
            if scheme(uri) == "file":  # its thread is still stuck: another attempt would only take one more
                raise Permanent(Reason.TIMED_OUT, text) from None
            raise Transient(Reason.TIMED_OUT, text) from None

    async def _fetch(self, uri: str) -> bytes:
        kind = scheme(uri)
        if kind == "file":
            work = functools.partial(read_file, uri, self._roots, self._settings.max_bytes)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        if kind in {"s3", "gs", "az"}:
            return await self._objects.fetch(uri)
        if kind in {"http", "https"}:
            return await self._web.fetch(uri)
        raise Permanent(Reason.UNSUPPORTED_URI, f"{kind}://" if kind else "it has no scheme")
