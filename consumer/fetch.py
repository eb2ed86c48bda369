"""Fetching the bytes of an image, wherever it is. Whatever goes wrong is the image's one failure, or its host's."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from consumer.addresses import real_roots, scheme, shown
from consumer.attempts import Transient, attempt
from consumer.file_fetch import read_file, read_files
from consumer.hosts import Hosts, host_of
from consumer.http_fetch import HttpFetcher
from consumer.object_fetch import ObjectFetcher
from trapstream.core import log
from trapstream.core.errors import Permanent, Reason, TrapstreamError
from trapstream.core.messages import Lane
from trapstream.core.result_store import incoming_folder
from trapstream.core.settings import ConsumerSettings

OBJECT_SCHEMES = frozenset({"s3", "gs", "az"})
WEB_SCHEMES = frozenset({"http", "https"})
_TOGETHER_SECONDS = 0.005
"""Files that are in the page cache take less than this, eight together."""
_ANSWERS = frozenset({Reason.NOT_FOUND, Reason.NO_PERMISSION, Reason.HTTP_STATUS, Reason.TOO_LARGE, Reason.EMPTY_FILE})
"""What an image fails with at once because its host said so."""


def is_file(uri: str) -> bool:
    """Whether it is a local file's address."""
    return scheme(uri) == "file"


class Postponed(TrapstreamError):
    """The host is away, or may be: no verdict on the image yet. `failure` is what it would be."""

    def __init__(self, failure: Permanent) -> None:
        self.failure = failure
        super().__init__(str(failure))


class Fetcher:
    """An async context manager for one event loop. `fetch` may be called many times at once."""

    def __init__(self, settings: ConsumerSettings, hosts: Hosts | None = None) -> None:
        """`hosts` is told how each host does; without it every failure is the image's own."""
        self._settings = settings
        self._hosts = hosts
        self._roots = real_roots([*settings.roots, incoming_folder(settings.results)])
        self._objects = ObjectFetcher(settings.fetch_seconds, settings.max_bytes)
        self._most = settings.fetches * len(Lane)  # neither lane waits for a place that the other's fetches have taken
        self._threads = ThreadPoolExecutor(self._most, thread_name_prefix="fetch")
        self._web: HttpFetcher | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._web = HttpFetcher(self._most, settings.max_bytes, settings.allow_private_networks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._web is not None:
            await self._web.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, uri: str) -> bytes:
        """The bytes behind `uri`: file://, http(s)://, s3://, gs:// or az://. Never empty.

        Permanent for everything that goes wrong. Each attempt may take `fetch_seconds`; what may go away by itself is
        tried `fetch_attempts` times. The failure's text depends on the fault alone and holds no secret. Postponed
        where the fault may be the host's: no attempt is spent on one that is away.
        """
        began, last = time.monotonic(), None
        host = host_of(uri) if self._hosts is not None else None

        async def once() -> bytes:
            nonlocal last
            if last is not None and self._is_away(host):
                raise Postponed(last)
            try:
                data = await self._once(uri)
            except Transient as error:
                last = error.failure
                if self._tell_failed(host, uri, last, began):
                    raise Postponed(last) from None
                raise
            except Permanent as error:
                if error.reason in _ANSWERS:
                    self._tell_answered(host)
                raise
            self._tell_answered(host)
            return data

        try:
            data = await attempt(once, self._settings.fetch_attempts)
        except Transient as error:
            if self._hosts is not None and host is not None and self._hosts.in_doubt(host, began):
                raise Postponed(error.failure) from None
            raise error.failure from None
        except TrapstreamError:
            raise
        except Exception as error:  # an image must not end the process, whatever a library raises
            log.get_logger().error("fetch failed unexpectedly", uri=shown(uri), error=type(error).__name__)
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

    def _is_away(self, host: str | None) -> bool:
        return self._hosts is not None and host is not None and self._hosts.is_away(host)

    def _tell_answered(self, host: str | None) -> None:
        if self._hosts is not None and host is not None:
            self._hosts.answered(host, time.monotonic())

    def _tell_failed(self, host: str | None, uri: str, failure: Permanent, began: float) -> bool:
        """Whether the host is away now."""
        if self._hosts is not None and host is not None:
            self._hosts.failed(host, uri, failure, began, time.monotonic())
        return self._is_away(host)

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
        if kind in OBJECT_SCHEMES:
            return await self._objects.fetch(uri)
        if kind in WEB_SCHEMES and self._web is not None:
            return await self._web.fetch(uri)
        raise Permanent(Reason.UNSUPPORTED_URI, f"{kind}://" if kind else "it has no scheme")
