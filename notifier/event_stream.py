"""One client's stream of events: the results of a job or of a series, for as long as the client reads them."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from aiohttp import web

from notifier import event_format
from notifier.hub import Hub
from notifier.job_filter import CoolDown, JobFilter
from notifier.job_sequence import MOST_TOGETHER, JobSequence, Part
from notifier.job_stream import JobStream
from trapstream.core import metrics
from trapstream.core.event_filter import BadFilter, check_categories
from trapstream.core.messages import EventFilter, JobSpec
from trapstream.core.settings import NotifierSettings

_END_SECONDS = 0.1
"""Between two looks at a job that has ended while the rest of the log before its end is on its way."""


class EventStream:
    """Made for each request; `run` returns when it is over."""

    def __init__(
        self,
        settings: NotifierSettings,
        hub: Hub,
        sequence: JobSequence,
        series: str | None,
        event_filter: EventFilter,
        response: web.StreamResponse,
        key_is_valid: Callable[[], bool],
    ) -> None:
        """`series`: None for a single job."""
        self._settings, self._hub, self._sequence, self._series = settings, hub, sequence, series
        self._filter, self._cooldown = event_filter, CoolDown(event_filter.cooldown)
        self._response, self._key_is_valid = response, key_is_valid
        self._news = asyncio.Event()
        """Set when there may be something to send."""
        self._jobs: list[JobStream] = []
        self._sent_at = self._checked_at = time.monotonic()

    async def run(self) -> None:
        """Sends events until nothing can follow, or until the process stops.

        TimeoutError for a client that does not read; ConnectionError for one that is gone.
        """
        try:
            await self._open_due_jobs()
            await self._send(event_format.HELLO)  # whatever comes from now on is sent, also to a client of `from=now`
            with self._hub.waking(self._news):
                while not self._hub.stopping.is_set() and not self._sequence.ends:
                    self._news.clear()
                    for job in list(self._jobs):
                        await self._send_results(job)
                    opened = await self._open_due_jobs()
                    if not opened and not self._sequence.ends and all(job.idle for job in self._jobs):
                        await self._wait_for_news()
                    if not await self._keep_alive():
                        return
        finally:
            for job in self._jobs:
                job.close()

    async def _open_due_jobs(self) -> bool:
        """Begins the next jobs, and returns whether there were any.

        The next job begins once those before it have nothing to send just now. So old results come in order, and a job
        that does not end holds up no other.
        """
        opened = False
        keys = self._hub.series.keys(self._series) if self._series is not None else ()
        while (
            not any(job.behind or job.ended for job in self._jobs) and (part := self._sequence.next(keys)) is not None
        ):
            spec = self._hub.jobs.specs.get(part.job)
            if spec is None:  # its retention is over
                self._sequence.close(part.job)
            else:
                await self._open(spec, part)
                opened = True
        return opened

    async def _open(self, spec: JobSpec, part: Part) -> None:
        self._sequence.begin(part)
        self._cooldown.start_job()
        if len(self._jobs) >= MOST_TOGETHER:
            first = self._jobs.pop(0)
            first.close()
            self._sequence.close(first.job)
            why = "it does not end, and what still comes of it is not sent any more"
            await self._send(event_format.gap(first.job, why))
        job_filter = JobFilter(self._filter, spec.model, self._cooldown)
        job = JobStream(self._hub, spec, job_filter, part.start, silent=part.silent)
        await job.open(self._news)
        self._jobs.append(job)
        if not part.silent:
            self._sequence.advance(part.job, job.offset)
            try:
                check_categories(self._filter, spec.model.classes)
            except BadFilter as error:
                await self._send(event_format.gap(part.job, str(error)))

    async def _send_results(self, job: JobStream) -> None:
        results = list(await job.read())
        if (why := job.take_gap()) is not None:
            await self._send(event_format.gap(job.job, why))
        if results:
            ids = [self._sequence.advance(job.job, result.offset + 1) for result in results]
            events = [event_format.result(result.data, id_) for result, id_ in zip(results, ids, strict=True)]
            await self._send(b"".join(events))
            metrics.EVENTS.labels("stream").inc(len(events))
        if not job.silent:
            self._sequence.advance(job.job, job.offset)
        if job.over:
            await self._close(job)

    async def _close(self, job: JobStream) -> None:
        self._jobs.remove(job)
        job.close()
        if job.silent:
            return
        self._sequence.close(job.job)
        if missing := job.missing():
            await self._send(event_format.gap(job.job, f"{missing:,} results of the job are no longer kept"))
        status = self._hub.ended.jobs.get(job.job)
        if status is not None:
            end = event_format.end(status) if self._sequence.ends else event_format.job_end(status, self._sequence.id)
            await self._send(end)

    async def _wait_for_news(self) -> None:
        seconds = max(0.0, self._sent_at + self._settings.events_heartbeat_seconds - time.monotonic())
        if any(job.ended for job in self._jobs):
            seconds = min(seconds, _END_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _keep_alive(self) -> bool:
        """Shows that the stream lives; False where its key is no longer valid."""
        now, beat = time.monotonic(), self._settings.events_heartbeat_seconds
        if now >= self._sent_at + beat:
            await self._send(event_format.heartbeat(self._sequence.heartbeat_id))
        if now >= self._checked_at + beat:
            self._checked_at = now
            if not self._key_is_valid():
                await self._send(event_format.refused("the API key is no longer valid"))
                return False
        return True

    async def _send(self, data: bytes) -> None:
        """TimeoutError for a client that does not read; ConnectionError for one that is gone."""
        async with asyncio.timeout(self._settings.events_patience_seconds):
            await self._response.write(data)
        self._sent_at = time.monotonic()
