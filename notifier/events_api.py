"""The HTTP API: `GET /v1/jobs/JOB/events` and `GET /v1/series/NAME/events`, streams of server-sent events."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiohttp import web

from notifier import job_sequence
from notifier.event_format import END_ID
from notifier.event_stream import EventStream
from notifier.hub import Hub
from notifier.job_sequence import JobSequence, SingleJob
from trapstream.core import door, event_filter, log, metrics
from trapstream.core.door import BadRequest, Handler, timed
from trapstream.core.kafka import job_partition
from trapstream.core.keys import BadKeys, Keys
from trapstream.core.messages import EventFilter
from trapstream.core.service import Health
from trapstream.core.settings import NotifierSettings

_PARAMETERS = event_filter.PARAMETERS | {"from"}
_SPARE_CONNECTIONS = 20
"""For clients that are refused because there are too many."""
_FIND_SECONDS = 2.0
"""A job whose upload was answered with 202 just now may be on its way still."""
_FULL_SECONDS = 5.0
_UNREAD_BYTES = 128 * 1024


class Query(NamedTuple):
    """What a client asks for."""

    event_filter: EventFilter
    from_now: bool
    last_id: str | None
    """The id of the last event that it has."""


class EventsApi:
    """The routes; closed until `ready`."""

    def __init__(self, settings: NotifierSettings, keys: Keys | None, hub: Hub) -> None:
        self._settings, self._keys, self._hub = settings, keys, hub
        self._slots = asyncio.Semaphore(settings.events_clients)
        self.ready = False

    async def stream_job(self, request: web.Request) -> web.StreamResponse:
        """The events of a job."""
        query, job = self._admit(request), request.match_info["job"]
        partition = job_partition(job)
        start = job_sequence.job_start(query.last_id, partition, query.event_filter.cooldown > 0, query.from_now)
        spec = await self._hub.jobs.seen(job, _FIND_SECONDS)
        if spec is None:
            raise BadRequest(404, f"there is no job {job!r}")
        event_filter.check_categories(query.event_filter, spec.model.classes)
        if query.last_id == END_ID and job in self._hub.ended.jobs:
            return web.Response(status=204)  # a browser's EventSource does not reconnect after it
        sequence = SingleJob(job, partition, start)
        return await self._stream(request, query.event_filter, sequence)

    async def stream_series(self, request: web.Request) -> web.StreamResponse:
        """The events of a series."""
        query, series = self._admit(request), request.match_info["series"]
        last = job_sequence.read_series_id(query.last_id) if query.last_id else None
        await asyncio.gather(*(self._hub.jobs.seen(job, _FIND_SECONDS) for job in last or ()))
        keys = await self._hub.find_series(series, _FIND_SECONDS)
        if not keys:
            raise BadRequest(404, f"there is no series {series!r}; it begins with its first image")
        event_filter.check_categories(query.event_filter, self._hub.jobs.specs[keys[-1][1]].model.classes)
        sequence = job_sequence.series_sequence(
            keys,
            self._hub.ended.jobs.__contains__,
            last,
            query.from_now,
            query.event_filter.cooldown,
            time.time(),
        )
        return await self._stream(request, query.event_filter, sequence, series)

    def _admit(self, request: web.Request) -> Query:
        """What the client asks for, if it may have a stream now. BadRequest; BadFilter; BadKeys."""
        door.authorised(request, self._keys)
        if not self.ready or self._hub.stopping.is_set():
            raise BadRequest(503, "the events are not there yet, or no more", 1.0)
        if unknown := [name for name in request.query if name not in _PARAMETERS]:
            raise BadRequest(400, f"there is no filter {unknown[0]!r}: {', '.join(sorted(_PARAMETERS))} are known")
        begin = request.query.get("from", "beginning")
        if begin not in {"beginning", "now"}:
            raise BadRequest(400, "from is beginning or now")
        wanted = event_filter.parse(request.query.items())
        return Query(wanted, begin == "now", request.headers.get("Last-Event-ID"))

    async def _stream(
        self, request: web.Request, wanted: EventFilter, sequence: JobSequence, series: str | None = None
    ) -> web.StreamResponse:
        if self._slots.locked():
            most = self._settings.events_clients
            raise BadRequest(503, f"{most} clients listen already, which is the most", _FULL_SECONDS)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        stream = EventStream(
            self._settings, self._hub, sequence, series, wanted, response, lambda: self._key_is_valid(request)
        )
        async with self._slots:
            with metrics.EVENT_CLIENTS.track_inprogress():
                _bound_send_buffer(request)
                await response.prepare(request)
                try:
                    await stream.run()
                except Exception as error:  # the head of the response is sent: all that is left is to end it
                    _abort(request, error)
        return response

    def _key_is_valid(self, request: web.Request) -> bool:
        try:
            door.authorised(request, self._keys)
        except (BadRequest, BadKeys):
            return False
        return True


@contextlib.asynccontextmanager
async def opened(settings: NotifierSettings, hub: Hub, health: Health) -> AsyncIterator[EventsApi]:
    """The API at its port, which `health` shows as `events`. Fatal if the port cannot be had."""
    door.check_host("TRAPSTREAM_EVENTS_HOST", settings.events_host, settings.api_keys)
    api = EventsApi(settings, door.keys_of(settings.api_keys), hub)
    app = web.Application(middlewares=[timed, _errors_as_json])
    app.router.add_get("/v1/jobs/{job}/events", api.stream_job, allow_head=False)
    app.router.add_get("/v1/series/{series}/events", api.stream_series, allow_head=False)
    async with door.listening(
        app,
        settings.events_host,
        settings.events_port,
        "TRAPSTREAM_EVENTS_PORT",
        most=settings.events_clients + _SPARE_CONNECTIONS,
        seconds=settings.events_patience_seconds,
        shutdown=1.0,
        cancels=True,
    ) as port:
        health.details["events"] = port
        log.get_logger().info("events", port=port, keys=settings.api_keys is not None)
        try:
            yield api
        finally:
            hub.stop()


def _abort(request: web.Request, error: Exception) -> None:
    """Ends a stream at once; the log says why, unless its client has gone."""
    if isinstance(error, TimeoutError):
        metrics.EVENT_CLIENTS_CUT.inc()
        log.get_logger().warning("listener cut off: it does not read", path=request.path)
    elif not isinstance(error, ConnectionError):
        log.get_logger().error("stream failed unexpectedly", error=repr(error), exc_info=error)
    if request.transport is not None:
        request.transport.abort()


def _bound_send_buffer(request: web.Request) -> None:
    """Bounds the bytes that the system holds for a client that does not read: it would hold megabytes for each."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # a client gets one line for any error
        routes = "GET /v1/jobs/JOB/events gives a job's results, GET /v1/series/NAME/events those of a series"
        return door.answer_to(request, error, routes)
