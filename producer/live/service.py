"""The ways in, joined: the door, the books, the carrier, and who waits. A part of the producer's process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from producer.live import events, incoming, periods
from producer.live.answers import Answers
from producer.live.api import Door
from producer.live.backlog import Backlog
from producer.live.books import Books
from producer.live.carry import Carrier
from producer.live.cleaning import Cleaner
from trapstream.core import door, kafka, log, retry
from trapstream.core.errors import Fatal, Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.outbox import Outbox
from trapstream.core.owner import owned
from trapstream.core.result_store import live_folder
from trapstream.core.service import Health
from trapstream.core.settings import ProducerSettings
from trapstream.jobs import names

_TAKES = "producer takes the uploads of this result store"
_LAST_SECONDS = 5.0
"""For the last round at a stop; what it does not publish, the next start does."""


async def run(settings: ProducerSettings, stop: asyncio.Event, health: Health) -> None:
    """Takes live images from when this producer owns the result store's until `stop`. Fatal for wrong settings."""
    check(settings)
    taking = Door(settings, door.keys_of(settings.api_keys))
    async with listening(settings, taking, health), _owned_until(settings.results, stop) as mine:
        if mine:
            await _work(settings, taking, stop)


def check(settings: ProducerSettings) -> None:
    """Fatal for settings that make no sense, in one line that says what to do."""
    try:
        periods.zone_of(settings.live_zone)
    except periods.NoSuchZone as error:
        raise Fatal(f"TRAPSTREAM_LIVE_ZONE: {error}; name one as Africa/Nairobi, or UTC") from error
    for place, series in settings.bucket_series.items():
        try:
            names.series_name(series)
        except names.BadName as error:
            raise Fatal(f"TRAPSTREAM_BUCKET_SERIES, {place}: {error}") from error
    door.check_host("TRAPSTREAM_API_HOST", settings.api_host, settings.api_keys)


@contextlib.asynccontextmanager
async def _owned_until(results: Path, stop: asyncio.Event) -> AsyncIterator[bool]:
    """True once this process owns the store's live images; False if it is told to stop before that."""
    async with contextlib.AsyncExitStack() as held:
        owning = asyncio.ensure_future(held.enter_async_context(owned(live_folder(results), _TAKES)))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({owning, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not owning.done():
                owning.cancel()
                await asyncio.wait({owning})
        yield owning.done() and not owning.cancelled() and owning.exception() is None and not stop.is_set()


@contextlib.asynccontextmanager
async def listening(settings: ProducerSettings, taking: Door, health: Health) -> AsyncIterator[None]:
    """The door's port, open: whoever comes before this producer takes images is told to come back.

    `health` is told the port, as `api`. Fatal if it cannot be had.
    """
    async with contextlib.AsyncExitStack() as opened:
        place = door.listening(
            taking.app(),
            settings.api_host,
            settings.api_port,
            most=settings.upload_connections,
            seconds=settings.upload_patience_seconds,
            shutdown=settings.drain_seconds / 2,
        )
        try:
            health.details["api"] = await opened.enter_async_context(place)
        except OSError as error:
            raise Fatal(
                f"port {settings.api_port} for uploads cannot be had ({error.strerror}); set TRAPSTREAM_API_PORT to a "
                "free one, or to 0"
            ) from error
        log.get_logger().info("uploads", port=health.details["api"], keys=settings.api_keys is not None)
        opened.callback(taking.close)
        yield


async def _work(settings: ProducerSettings, taking: Door, stop: asyncio.Event) -> None:
    table = JobTable(settings.kafka)
    books = Books(settings, table.specs.__contains__)
    answers, backlog = Answers(settings.kafka, books.holds), Backlog(settings.kafka, books)
    await retry.until_back(lambda: _loaded(settings, books), "result store")
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(books.run())
        cleaner = Cleaner(settings, books, taking.in_hand, table)
        carrying = tasks.create_task(_carry(settings, books, table, answers, backlog, cleaner))
        # Uploads are taken while Kafka is away: they are on disk, and go there once it is back.
        taking.open(books, answers, backlog)
        await stop.wait()
        taking.close()
        await taking.idle(settings.drain_seconds / 2)
        await books.settled()
        carrying.cancel()
        await asyncio.wait({carrying})
        writing.cancel()


async def _loaded(settings: ProducerSettings, books: Books) -> None:
    try:
        await asyncio.to_thread(incoming.prepare, settings.results)
        await books.load()
    except OSError as error:
        raise Retryable(f"{error.filename or settings.results}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Fatal(f"a note in {settings.results / 'live'} is damaged ({error}); move it away") from error


async def _carry(
    settings: ProducerSettings, books: Books, table: JobTable, answers: Answers, backlog: Backlog, cleaner: Cleaner
) -> None:
    """Everything that needs Kafka."""
    await kafka.create_topics(settings.kafka)
    outbox = Outbox(settings.kafka)
    await outbox.start()
    carrier = Carrier(settings, books, outbox, table)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answers.run())
            await answers.ready.wait()  # an image that is published before might be answered unheard
            for body in (table.run(), backlog.run(), carrier.run(), cleaner.run()):
                tasks.create_task(body)
            if settings.bucket_topic is not None:
                tasks.create_task(events.run(settings, books, outbox))
    finally:
        with contextlib.suppress(TimeoutError, Retryable):
            async with asyncio.timeout(_LAST_SECONDS):
                await carrier.round()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await carrier.finish()
                await outbox.stop()
