"""The ways in, joined: the door, the books, the carrier, and who waits. A part of the producer's process."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiohttp import web

from producer.live import events, incoming, names, periods
from producer.live.answers import Answers
from producer.live.api import Door
from producer.live.backlog import Backlog
from producer.live.books import Books
from producer.live.carry import Carrier
from producer.live.connections import Connections
from producer.live.keys import BadKeys, Keys
from producer.live.owner import owned
from trapstream.core import kafka, log, retry
from trapstream.core.errors import Fatal, Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.service import Health
from trapstream.core.settings import ProducerSettings

_LAST_SECONDS = 5.0
"""For the last round at a stop; what it does not publish, the next start does."""


async def run(settings: ProducerSettings, stop: asyncio.Event, health: Health) -> None:
    """Takes live images from when this producer owns the result store's until `stop`. Fatal for wrong settings."""
    check(settings)
    door = Door(settings, _keys(settings))
    async with listening(settings, door, health), _owned_until(settings.results, stop) as mine:
        if mine:
            await _work(settings, door, stop)


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
    if settings.api_keys is None and not _is_loopback(settings.api_host):
        raise Fatal(
            f"TRAPSTREAM_API_HOST is {settings.api_host}: without API keys everybody there could upload; name a file "
            "of keys in TRAPSTREAM_API_KEYS, or listen on 127.0.0.1"
        )


def _keys(settings: ProducerSettings) -> Keys | None:
    try:
        return Keys(settings.api_keys) if settings.api_keys is not None else None
    except BadKeys as error:
        raise Fatal(str(error)) from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.asynccontextmanager
async def _owned_until(results: Path, stop: asyncio.Event) -> AsyncIterator[bool]:
    """True once this process owns the store's live images; False if it is told to stop before that."""
    async with contextlib.AsyncExitStack() as held:
        owning = asyncio.ensure_future(held.enter_async_context(owned(results)))
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
async def listening(settings: ProducerSettings, door: Door, health: Health) -> AsyncIterator[None]:
    """The door's port, open: whoever comes before this producer takes images is told to come back.

    `health` is told the port, as `api`. Fatal if it cannot be had.
    """
    runner = web.AppRunner(door.app(), access_log=None, shutdown_timeout=settings.drain_seconds / 2)
    await runner.setup()
    server: web.Server | None = runner.server
    assert server is not None
    connections = Connections(server, settings.upload_connections, settings.upload_patience_seconds)
    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_server(connections, settings.api_host, settings.api_port, backlog=1024)
    except OSError as error:
        await runner.cleanup()
        raise Fatal(
            f"port {settings.api_port} for uploads cannot be had ({error.strerror}); set TRAPSTREAM_API_PORT to a "
            "free one, or to 0"
        ) from error
    health.details["api"] = listener.sockets[0].getsockname()[1]
    log.get_logger().info("uploads", port=health.details["api"], keys=settings.api_keys is not None)
    try:
        yield
    finally:
        door.close()
        listener.close()
        await runner.cleanup()


async def _work(settings: ProducerSettings, door: Door, stop: asyncio.Event) -> None:
    table = JobTable(settings.kafka)
    books = Books(settings, table.specs.__contains__)
    answers, backlog = Answers(settings.kafka, books.holds), Backlog(settings.kafka, books)
    await retry.until_back(lambda: _loaded(settings, books), "result store")
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(books.run())
        carrying = tasks.create_task(_carry(settings, books, table, answers, backlog))
        # Uploads are taken while Kafka is away: they are on disk, and go there once it is back.
        door.open(books, answers, backlog)
        await stop.wait()
        door.close()
        await door.idle(settings.drain_seconds / 2)
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


async def _carry(settings: ProducerSettings, books: Books, table: JobTable, answers: Answers, backlog: Backlog) -> None:
    """Everything that needs Kafka."""
    await kafka.create_topics(settings.kafka)
    outbox = kafka.Outbox(settings.kafka)
    await outbox.start()
    carrier = Carrier(settings, books, outbox, table)
    try:
        async with asyncio.TaskGroup() as tasks:
            for body in (table.run(), answers.run(), backlog.run(), carrier.run()):
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
