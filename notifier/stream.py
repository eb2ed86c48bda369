"""One client's stream: the results of a job or of a series from where it left off, as long as it reads them."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from aiohttp import web

from notifier import frames
from notifier.course import Course
from notifier.hub import Hub
from notifier.series import MOST_TOGETHER
from notifier.telling import Telling
from trapstream.core import metrics
from trapstream.core.settings import NotifierSettings

_END_SECONDS = 0.1
"""Between two looks at a job that has ended while the rest of the log before its end is on its way."""


class Stream:
    """Made for each request; `run` returns when it is over."""

    def __init__(
        self,
        settings: NotifierSettings,
        hub: Hub,
        course: Course,
        news: asyncio.Event,
        response: web.StreamResponse,
        may: Callable[[], bool],
    ) -> None:
        """`news`: set also when there may be another job to begin. `may`: whether the client's key is still good."""
        self._settings, self._hub, self._course, self._may = settings, hub, course, may
        self._response, self._news = response, news
        self._telling: list[Telling] = []
        self._said = self._checked = time.monotonic()

    async def run(self) -> None:
        """Sends events until nothing can follow, or until the process stops.

        TimeoutError for a client that does not read; ConnectionError for one that is gone.
        """
        try:
            await self._begin()
            await self._send(frames.HELLO)  # what comes from now on is told, for who wants no more than that
            while not self._hub.stopping.is_set() and not self._course.ends:
                self._news.clear()
                await self._begin()
                moved = False
                for telling in list(self._telling):
                    moved = await self._tell(telling) or moved
                if not await self._lives(wait=not moved):
                    return
        finally:
            for telling in self._telling:
                telling.leave()

    async def _begin(self) -> None:
        while (telling := self._course.due(self._telling)) is not None:
            if len(self._telling) >= MOST_TOGETHER:
                first = self._telling.pop(0)
                first.leave()
                self._course.over(first.job)
                await self._send(frames.gap(first.job, "it does not end, and what still comes of it is told no more"))
            await telling.begin(self._news)
            self._telling.append(telling)
            if not telling.silent:
                self._course.passed(telling.job, telling.place)
                if (why := self._course.warning(telling.job)) is not None:
                    await self._send(frames.gap(telling.job, why))

    async def _tell(self, telling: Telling) -> bool:
        """What there is to tell of a job; whether it got any further."""
        behind = telling.behind  # who has caught up has moved too: the next job may have waited for it
        results = await telling.some()
        if (why := telling.gap()) is not None:
            await self._send(frames.gap(telling.job, why))
        if results:
            events = [frames.result(each, self._course.passed(telling.job, each.offset + 1)) for each in results]
            await self._send(b"".join(events))
            metrics.EVENTS.labels("stream").inc(len(events))
        if not telling.silent:
            self._course.passed(telling.job, telling.place)
        if telling.over:
            await self._over(telling)
        return telling.over or behind or telling.behind or bool(results)

    async def _over(self, telling: Telling) -> None:
        self._telling.remove(telling)
        telling.leave()
        if telling.silent:
            return
        self._course.over(telling.job)
        status = telling.status()
        if gone := telling.missing():
            await self._send(frames.gap(telling.job, f"{gone:,} results of the job are no longer kept"))
        if status is not None:
            await self._send(self._course.closing(status))

    async def _lives(self, wait: bool) -> bool:
        """Waits for more, shows that the stream lives, and whether it may."""
        beat = self._settings.events_heartbeat_seconds
        if wait and not self._course.ends:
            seconds = min(beat, _END_SECONDS) if any(each.ending for each in self._telling) else beat
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        if time.monotonic() >= self._said + beat:
            await self._send(frames.heartbeat(self._course.heartbeat()))
        if time.monotonic() >= self._checked + beat:
            self._checked = time.monotonic()
            if not self._may():
                await self._send(frames.error("the API key is no longer valid"))
                return False
        return True

    async def _send(self, data: bytes) -> None:
        """TimeoutError for a client that does not read; ConnectionError for one that is gone."""
        async with asyncio.timeout(self._settings.events_patience_seconds):
            await self._response.write(data)
        self._said = time.monotonic()
