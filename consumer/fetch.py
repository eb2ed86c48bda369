"""Fetching the bytes of an image, wherever it is. Whatever goes wrong is the image's one failure, never an escape."""

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from consumer.addresses import real_roots, scheme, shown
from consumer.attempts import Transient, attempt
from consumer.file_fetch import read_file
from consumer.http_fetch import HttpFetcher
from consumer.object_fetch import ObjectFetcher
from trapstream.core import log
from trapstream.core.errors import Permanent, Reason, TrapstreamError
from trapstream.core.settings import ConsumerSettings

OBJECT_SCHEMES = frozenset({"s3", "gs", "az"})
WEB_SCHEMES = frozenset({"http", "https"})


class Fetcher:
    """An async context manager for one event loop. `fetch` may be called many times at once."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self._roots = real_roots(settings.roots)
        self._objects = ObjectFetcher(settings.fetch_seconds, settings.max_bytes)
        self._threads = ThreadPoolExecutor(settings.fetches, thread_name_prefix="fetch")
        self._web: HttpFetcher | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._web = HttpFetcher(settings.fetches, settings.max_bytes, settings.allow_private_networks)
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
        tried `fetch_attempts` times. The failure's text depends on the fault alone and holds no secret.
        """
        try:
            data = await attempt(functools.partial(self._once, uri), self._settings.fetch_attempts)
        except TrapstreamError:
            raise
        except Exception as error:  # an image must not end the process, whatever a library raises
            log.get_logger().error("fetch failed unexpectedly", uri=shown(uri), error=type(error).__name__)
            raise Permanent(Reason.UNREACHABLE, type(error).__name__) from error
        if not data:
            raise Permanent(Reason.EMPTY_FILE)
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
        if kind in OBJECT_SCHEMES:
            return await self._objects.fetch(uri)
        if kind in WEB_SCHEMES and self._web is not None:
            return await self._web.fetch(uri)
        raise Permanent(Reason.UNSUPPORTED_URI, f"{kind}://" if kind else "it has no scheme")
