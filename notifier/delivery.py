"""One webhook of one job: its events in order, one at a time, each until it is taken or given up."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from notifier import event_format, webhook_rules
from notifier.event_format import Result
from notifier.hub import Hub
from notifier.job_filter import CameraTimes, JobFilter
from notifier.job_sequence import Start
from notifier.job_stream import JobStream
from notifier.posting import Poster
from notifier.webhook_cursors import Cursor, WebhookCursors
from trapstream.core import faults, log, metrics, retry
from trapstream.core.event_filter import BadFilter, check_categories, log_address
from trapstream.core.messages import JobSpec, Webhook
from trapstream.core.settings import NotifierSettings

T = TypeVar("T")

_SAVE_SECONDS = 10.0
"""Between two saved cursors while no result passes the filter."""


class Delivery:
    """Made for each webhook; `run` returns once the job has ended and all is sent, or when the process stops."""

    def __init__(
        self,
        settings: NotifierSettings,
        hub: Hub,
        cursors: WebhookCursors,
        poster: Poster,
        key: bytes,
        spec: JobSpec,
        webhook: Webhook,
    ) -> None:
        """`key`: to sign with."""
        self._settings, self._hub, self._cursors, self._poster, self._key = settings, hub, cursors, poster, key
        self._spec, self._url, self._event_filter = spec, webhook.url, webhook.event_filter
        self._filter = JobFilter(webhook.event_filter, spec.model)
        self._log = log.get_logger().bind(job=spec.job, to=log_address(webhook.url))
        self._failures = 0
        """In a row, of whichever events."""
        self._saved_offset, self._saved_at = 0, 0.0

    async def run(self) -> None:
        """To the job's end. A disk or a Kafka that is away is waited for."""
        job, news = self._spec.job, asyncio.Event()
        try:
            check_categories(self._event_filter, self._spec.model.classes)
        except BadFilter as error:
            self._log.error("webhook unusable", error=str(error))
            return
        cursor = await _stored(lambda: self._cursors.get(job, self._url))
        if cursor is None:
            # Older events would be given up.
            since = max(self._spec.created, time.time() - self._settings.webhook_age_seconds)
            cursor = Cursor(await self._hub.past.offset_at(job, since), await self._sent_in_job_before())
        if cursor.done:
            return
        self._filter.cooldown.last_sent = dict(cursor.last_sent)
        self._saved_offset, self._saved_at = cursor.offset, time.monotonic()
        stream = JobStream(self._hub, self._spec, self._filter, Start(cursor.offset, 0))
        metrics.WEBHOOKS.inc()
        try:
            await stream.open(news)
            try:
                with self._hub.waking(news):
                    await self._follow(stream, news)
            finally:
                stream.close()
        finally:
            metrics.WEBHOOKS.dec()

    async def _sent_in_job_before(self) -> CameraTimes:
        """When each camera was last sent to this address in the job of the series before this one."""
        before = self._hub.series.before(self._spec)
        cursor = await _stored(lambda: self._cursors.get(before, self._url)) if before is not None else None
        return {} if cursor is None else cursor.last_sent

    async def _follow(self, stream: JobStream, news: asyncio.Event) -> None:
        while not self._hub.stopping.is_set():
            news.clear()
            results = await stream.read()
            if (why := stream.take_gap()) is not None:
                self._log.error("results may be missing for a webhook", why=why)
            for result in results:
                # Killed in step 1 or after it: the event is sent again, with the same id. After step 2: nothing is.
                # 1. The event, until it is taken or given up.
                if not await self._deliver(result):
                    return
                faults.reach("deliver.1")
                # 2. The cursor after it.
                await self._save(result.offset + 1)
                faults.reach("deliver.2")
            if stream.over:
                await self._save(stream.offset, done=True)
                self._log.info("webhook is told all")
                return
            if stream.offset > self._saved_offset and time.monotonic() >= self._saved_at + _SAVE_SECONDS:
                await self._save(stream.offset)
            if stream.idle:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SAVE_SECONDS):
                        await news.wait()

    async def _deliver(self, result: Result) -> bool:
        """Sends an event until it is taken or given up; False where the process stops before that."""
        event_id, body, attempts = result.data.id, event_format.json_line(result.data), 0
        while not self._hub.stopping.is_set():
            signed = webhook_rules.headers(self._key, event_id, int(time.time()), body)
            error = await self._poster.post(self._url, signed, body)
            if error is None:
                if self._failures:
                    self._log.info("webhook is back", failures=self._failures)
                self._failures = 0
                metrics.EVENTS.labels("webhook").inc()
                return True
            attempts += 1
            self._failures += 1
            metrics.WEBHOOK_FAILURES.inc()
            age = time.time() - result.data.time
            most_attempts, most_age = self._settings.webhook_attempts, self._settings.webhook_age_seconds
            if webhook_rules.gives_up(attempts, age, most_attempts, most_age):
                metrics.WEBHOOK_GIVEN_UP.inc()
                self._log.error("webhook gives an event up", image=event_id, attempts=attempts, error=error)
                return True
            delay = webhook_rules.retry_delay(self._failures)
            self._log.warning("webhook failed", image=event_id, attempts=attempts, error=error, again_in=delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._hub.stopping.wait()
        return False

    async def _save(self, offset: int, done: bool = False) -> None:
        cursor = Cursor(offset, self._filter.cooldown.last_sent, done)
        await _stored(lambda: self._cursors.put(self._spec.job, self._url, cursor))
        self._saved_offset, self._saved_at = offset, time.monotonic()


async def _stored(call: Callable[[], T]) -> T:
    """What `call` returns. It takes less than a millisecond: the file is not synced. A full disk is waited for."""

    async def once() -> T:
        return call()

    return await retry.until_back(once, "webhook places")
