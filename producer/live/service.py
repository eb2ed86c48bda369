"""Live images as a part of the producer's process: the door, the journal, and its publisher, joined."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from producer.backlog import LiveBacklog
from producer.live import bucket_events, incoming, periods
from producer.live.answers import Answers
from producer.live.api import Door
from producer.live.cleaning import Cleaner
from producer.live.journal_publisher import JournalPublisher
from producer.live.series_journal import SeriesJournal
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
"""For the last round at a stop; the next start publishes the images that it does not."""


async def run(settings: ProducerSettings, stop: asyncio.Event, health: Health) -> None:
    """Takes live images from when this producer owns the result store's until `stop`. Fatal for wrong settings."""
    check(settings)
    taking = Door(settings, door.keys_of(settings.api_keys))
    async with listening(settings, taking, health), asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_work(settings, taking, stop))
        await stop.wait()
        if not taking.was_open:
            work.cancel()  # it stands by, or waits for the disk


def check(settings: ProducerSettings) -> None:
    """Fatal for settings that make no sense, in one line that says what to do."""
    periods.zone_of(settings.live_zone)
    for prefix, series in settings.bucket_series.items():
        try:
            names.series_name(series)
        except names.BadName as error:
            raise Fatal(f"TRAPSTREAM_BUCKET_SERIES, {prefix}: {error}") from error
    door.check_host("TRAPSTREAM_API_HOST", settings.api_host, settings.api_keys)


@contextlib.asynccontextmanager
async def listening(settings: ProducerSettings, taking: Door, health: Health) -> AsyncIterator[None]:
    """Opens the door's port: a sender that comes before this producer takes images is told to come back.

    `health.details` gets the port, as `api`. Fatal if it cannot be had.
    """
    async with door.listening(
        taking.app(),
        settings.api_host,
        settings.api_port,
        "TRAPSTREAM_API_PORT",
        most=settings.upload_connections,
        seconds=settings.upload_patience_seconds,
        shutdown=settings.drain_seconds / 2,
    ) as port:
        health.details["api"] = port
        log.get_logger().info("uploads", port=port, keys=settings.api_keys is not None)
        try:
            yield
        finally:
            taking.close()


async def _work(settings: ProducerSettings, taking: Door, stop: asyncio.Event) -> None:
    table = JobTable(settings.kafka)
    journal = SeriesJournal(settings, table.specs.__contains__)
    answers, backlog = Answers(settings.kafka, journal.find), LiveBacklog(settings.kafka, journal.unpublished)

    async def publish(cleaner: Cleaner) -> None:
        """Everything that needs Kafka."""
        await kafka.create_topics(settings.kafka)
        async with Outbox(settings.kafka) as outbox:
            publisher = JournalPublisher(settings, journal, outbox, table)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(answers.run())
                    await answers.ready.wait()  # an image that is published before might be answered unheard
                    for body in (table.run(), backlog.run(), publisher.run(), cleaner.run()):
                        tasks.create_task(body)
                    if settings.bucket_topic is not None:
                        tasks.create_task(bucket_events.run(settings.bucket_topic, settings, journal, outbox))
            finally:
                with contextlib.suppress(TimeoutError, Retryable):
                    async with asyncio.timeout(_LAST_SECONDS):
                        await publisher.round()

    async with owned(live_folder(settings.results), _TAKES), asyncio.TaskGroup() as tasks:
        await retry.until_back(lambda: _load(settings, journal), "result store")
        writing = tasks.create_task(journal.run())
        cleaner = Cleaner(settings, journal, taking.in_hand, table)
        publishing = tasks.create_task(publish(cleaner))
        # Uploads are taken while Kafka is away: they are on disk, and go there once it is back.
        taking.open(journal, answers, backlog)
        await stop.wait()
        taking.close()
        await taking.idle(settings.drain_seconds / 2)
        await journal.flush()
        publishing.cancel()
        await asyncio.wait({publishing})
        writing.cancel()


async def _load(settings: ProducerSettings, journal: SeriesJournal) -> None:
    try:
        await asyncio.to_thread(incoming.prepare, settings.results)
        await journal.load()
    except OSError as error:
        raise Retryable(f"{error.filename or settings.results}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Fatal(f"a record in {settings.results / 'live'} is damaged ({error}); move it away") from error
