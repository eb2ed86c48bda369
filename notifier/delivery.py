"""One webhook of one job: its events in order, one at a time, each until it is taken or given up."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from notifier import backoff, results, signature
from notifier.cooling import Times
from notifier.hub import Hub
from notifier.listening import Listening
from notifier.places import Place, Places
from notifier.posting import Poster
from notifier.reader import Reader
from notifier.results import Record, Result
from trapstream.core import faults, log, metrics, retry
from trapstream.core.errors import BadMessage
from trapstream.core.messages import JobSpec, Webhook
from trapstream.core.settings import NotifierSettings
from trapstream.core.wishes import check_categories, place_of

T = TypeVar("T")

_LOOK_SECONDS = 30.0
_NOTE_SECONDS = 10.0
"""Between two notes of how far the log is read while it has nothing to tell."""


class Delivery:
    """Made for each webhook; `run` returns once all is told, or when the process stops."""

    def __init__(
        self,
        settings: NotifierSettings,
        hub: Hub,
        places: Places,
        post: Poster,
        key: bytes,
        spec: JobSpec,
        webhook: Webhook,
    ) -> None:
        """BadWish for a category that the job's model does not have."""
        self._settings, self._hub, self._places, self._poster, self._key = settings, hub, places, post, key
        self._spec, self._url = spec, webhook.url
        check_categories(webhook.wish, spec.model.classes)
        self._listening = Listening(webhook.wish, spec.model)
        self._log = log.get_logger().bind(job=spec.job, to=place_of(webhook.url))
        self._failures = 0
        """In a row, of whichever events."""

    async def run(self) -> None:
        """To the job's end. A disk or a Kafka that is away is waited for."""
        place = await _stored(lambda: self._places.get(self._spec.job, self._url))
        if place is None:
            # What is older than that would be given up.
            since = max(self._spec.created, time.time() - self._settings.webhook_age_seconds)
            place = Place(await self._hub.past.since(self._spec.job, since), await self._rang_before())
        if place.done:
            return
        self._listening.cooling.rang = dict(place.rang)
        metrics.WEBHOOKS.inc()
        try:
            async with self._hub.reader(self._spec.job, place.offset) as reader:
                await self._follow(reader, place.offset)
        finally:
            metrics.WEBHOOKS.dec()

    async def _rang_before(self) -> Times:
        """What rang at this address in the job of the series before this one."""
        before = self._hub.before(self._spec)
        place = await _stored(lambda: self._places.get(before, self._url)) if before is not None else None
        return {} if place is None else place.rang

    async def _follow(self, reader: Reader, noted: int) -> None:
        when = time.monotonic()
        while not self._hub.stopping.is_set():
            end = await self._hub.end(self._spec.job)
            if end is not None and reader.place >= end:
                await self._note(reader.place, done=True)
                self._log.info("webhook is told all")
                return
            for record in await reader.some(_LOOK_SECONDS):
                if end is not None and record.offset >= end:
                    continue  # of a job that was stopped before: it does not count
                if not await self._tell(record):
                    return
                noted, when = record.offset, time.monotonic()
            if reader.gap is not None:
                self._log.error("results may be missing for a webhook", why=reader.gap)
                reader.gap = None
            if reader.place > noted and time.monotonic() >= when + _NOTE_SECONDS:
                await self._note(reader.place)
                noted, when = reader.place, time.monotonic()

    async def _tell(self, record: Record) -> bool:
        """One result, in steps that a kill may part; False where the process stops before it is told."""
        try:
            result = results.read(record)
        except BadMessage:
            return True
        before = dict(self._listening.cooling.rang)
        if not self._listening.hears(result):
            return True
        # 1. The event, until it is taken or given up. Killed in it or after it: it is sent again, with the same id.
        if not await self._until_taken(result):
            self._listening.cooling.rang = before
            return False
        faults.reach("deliver.1")
        # 2. The place after it. Killed after it: nothing is repeated.
        await self._note(result.offset + 1)
        faults.reach("deliver.2")
        return True

    async def _until_taken(self, result: Result) -> bool:
        body, attempts = results.shown(result), 0
        while not self._hub.stopping.is_set():
            signed = signature.headers(self._key, result.id, int(time.time()), body)
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
            age = time.time() - result.time
            if backoff.gives_up(attempts, age, self._settings.webhook_attempts, self._settings.webhook_age_seconds):
                metrics.WEBHOOK_GIVEN_UP.inc()
                self._log.error("webhook gives an event up", image=result.id, attempts=attempts, error=error)
                return True
            wait = backoff.wait(self._failures)
            self._log.warning("webhook failed", image=result.id, attempts=attempts, error=error, again_in=wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hub.stopping.wait()
        return False

    async def _note(self, offset: int, done: bool = False) -> None:
        place = Place(offset, self._listening.cooling.rang, done)
        await _stored(partial(self._places.put, self._spec.job, self._url, place))


async def _stored(call: Callable[[], T]) -> T:
    """The answer of the file, which takes less than a millisecond: no disk is synced."""

    async def once() -> T:
        return call()

    return await retry.until_back(once, "webhook places")
