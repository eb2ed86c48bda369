"""One client's stream: the results of a job from where it left off, as long as it reads them."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from notifier import frames, results
from notifier.hub import Hub
from notifier.listening import Listening
from notifier.reader import Reader
from notifier.results import Record
from notifier.resume import Start
from trapstream.core import kafka, metrics
from trapstream.core.errors import BadMessage
from trapstream.core.messages import JobSpec
from trapstream.core.settings import NotifierSettings


class Stream:
    """Made for each request; `run` returns when it is over."""

    def __init__(
        self,
        settings: NotifierSettings,
        hub: Hub,
        spec: JobSpec,
        listening: Listening,
        response: web.StreamResponse,
        may: Callable[[], bool],
    ) -> None:
        """`may`: whether the client's key is still good."""
        self._settings, self._hub, self._spec, self._may = settings, hub, spec, may
        self._listening, self._response = listening, response
        self._part = kafka.job_partition(spec.job)
        self._said = time.monotonic()
        self._whole = False
        """It reads the job from its beginning."""

    async def run(self, begin: Start, from_now: bool) -> None:
        """Sends events until the job's end, or until the process stops.

        TimeoutError for a client that does not read; ConnectionError for one that is gone.
        """
        await self._send(frames.HELLO)
        place = begin.place
        self._whole = place is None and not from_now
        if self._whole:
            place = await self._hub.past.since(self._spec.job, self._spec.created)
        async with self._hub.reader(self._spec.job, place) as reader:
            await self._follow(reader, begin.told)

    async def _follow(self, reader: Reader, told: int) -> None:
        beat, checked = self._settings.events_heartbeat_seconds, time.monotonic()
        while not self._hub.stopping.is_set():
            if reader.gap is not None:
                await self._send(frames.gap(self._spec.job, reader.gap))
                reader.gap = None
            end = await self._hub.end(self._spec.job)
            if end is not None and reader.place >= end:
                await self._end()
                return
            records = await reader.some(beat)
            if events := [event for record in records if (event := self._event(record, told, end)) is not None]:
                await self._send(b"".join(events))
                metrics.EVENTS.labels("stream").inc(len(events))
            elif time.monotonic() >= self._said + beat:
                await self._send(frames.heartbeat(self._part, max(reader.place, told)))
            if time.monotonic() >= checked + beat:
                checked = time.monotonic()
                if not self._may():
                    await self._send(frames.error("the API key is no longer valid"))
                    return

    async def _end(self) -> None:
        status = self._hub.status(self._spec.job)
        if status is None:
            return
        gone = status.counts.done - self._listening.seen.count
        if self._whole and gone > 0:
            await self._send(frames.gap(self._spec.job, f"{gone:,} results of the job are no longer kept"))
        await self._send(frames.end(status))

    def _event(self, record: Record, told: int, end: int | None) -> bytes | None:
        if end is not None and record.offset >= end:
            return None  # of a job that was stopped before: it does not count
        try:
            result = results.read(record)
        except BadMessage:
            return None
        heard = self._listening.hears(result)
        return frames.result(self._part, result) if heard and record.offset >= told else None

    async def _send(self, data: bytes) -> None:
        """TimeoutError for a client that does not read; ConnectionError for one that is gone."""
        async with asyncio.timeout(self._settings.events_patience_seconds):
            await self._response.write(data)
        self._said = time.monotonic()
