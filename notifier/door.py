"""The HTTP door: `GET /v1/jobs/JOB/events` and `GET /v1/series/NAME/events`, streams of server-sent events."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from aiohttp import web

from notifier import resume, series
from notifier.course import Course, OneJob, OneSeries
from notifier.hub import Hub
from notifier.resume import BadId
from notifier.stream import Stream
from trapstream.core import door, log, metrics, wishes
from trapstream.core.connections import timed
from trapstream.core.door import BadRequest, Handler
from trapstream.core.errors import Fatal
from trapstream.core.kafka import job_partition
from trapstream.core.keys import BadKeys, Keys
from trapstream.core.messages import Wish
from trapstream.core.service import Health
from trapstream.core.settings import NotifierSettings

_KNOWN = wishes.WORDS | {"from"}
_SPARE_CONNECTIONS = 20
"""For those who are told that there is no room."""
_FIND_SECONDS = 2.0
"""A job of which a 202 was said just now may be on its way still."""
_FULL_SECONDS = 5.0
_UNREAD_BYTES = 128 * 1024


class Asked(NamedTuple):
    """What a client wants."""

    wish: Wish
    from_now: bool
    last: str | None
    """The id of the last event that it has."""


class Door:
    """The routes; closed until `ready`."""

    def __init__(self, settings: NotifierSettings, keys: Keys | None, hub: Hub) -> None:
        self._settings, self._keys, self._hub = settings, keys, hub
        self._clients = 0
        self.ready = False

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[timed, _explained])
        app.add_routes(
            [
                web.get("/v1/jobs/{job}/events", self._job, allow_head=False),
                web.get("/v1/series/{series}/events", self._series, allow_head=False),
            ]
        )
        return app

    async def _job(self, request: web.Request) -> web.StreamResponse:
        asked, job = self._asked(request), request.match_info["job"]
        begin = resume.start(asked.last, job_partition(job), asked.wish.cooldown > 0, asked.from_now)
        with self._counted():
            spec = await self._hub.find(job, _FIND_SECONDS)
            if spec is None:
                raise BadRequest(404, f"there is no job {job!r}")
            wishes.check_categories(asked.wish, spec.model.classes)
            if asked.last == resume.END and self._hub.status(job) is not None:
                return web.Response(status=204)  # by which a browser's EventSource knows that it is over
            return await self._streamed(request, OneJob(self._hub, spec, asked.wish, begin), asyncio.Event())

    async def _series(self, request: web.Request) -> web.StreamResponse:
        asked, name = self._asked(request), request.match_info["series"]
        last = series.read(asked.last) if asked.last else None
        with self._counted():
            await asyncio.gather(*(self._hub.find(job, _FIND_SECONDS) for job in last or ()))
            keys = await self._hub.find_series(name, _FIND_SECONDS)
            if not keys:
                raise BadRequest(404, f"there is no series {name!r}; it begins with its first image")
            wishes.check_categories(asked.wish, self._hub.jobs.specs[keys[-1][1]].model.classes)
            course = OneSeries(self._hub, name, keys, asked.wish, last, asked.from_now)
            with self._hub.watched(name) as news:
                return await self._streamed(request, course, news)

    def _asked(self, request: web.Request) -> Asked:
        """What the client wants, if it may come in now. BadRequest; BadWish; BadKeys."""
        if self._keys is None:
            door.require_local(request)
        door.authorised(request, self._keys)
        if not self.ready or self._hub.stopping.is_set():
            raise BadRequest(503, "the events are not there yet, or no more", 1.0)
        if strange := [word for word in request.query if word not in _KNOWN]:
            raise BadRequest(400, f"there is no filter {strange[0]!r}: {', '.join(sorted(_KNOWN))} are known")
        from_now = request.query.get("from", "beginning")
        if from_now not in {"beginning", "now"}:
            raise BadRequest(400, "from is beginning or now")
        if self._clients >= self._settings.events_clients:
            raise BadRequest(503, f"{self._clients} clients listen already, which is the most", _FULL_SECONDS)
        return Asked(wishes.wish(request.query.items()), from_now == "now", request.headers.get("Last-Event-ID"))

    async def _streamed(self, request: web.Request, course: Course, news: asyncio.Event) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        stream = Stream(self._settings, self._hub, course, news, response, lambda: self._may(request))
        _keep_little(request)
        await response.prepare(request)
        try:
            await stream.run()
        except TimeoutError:
            metrics.EVENT_CLIENTS_CUT.inc()
            log.get_logger().warning("listener cut off: it does not read", path=request.path)
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it has gone, as listeners do
        except Exception as error:  # its head is sent: all that is left to say is that it ends
            log.get_logger().error("stream failed unexpectedly", error=repr(error), exc_info=True)
            if request.transport is not None:
                request.transport.abort()
        return response

    def _may(self, request: web.Request) -> bool:
        try:
            door.authorised(request, self._keys)
        except (BadRequest, BadKeys):
            return False
        return True

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._clients += 1
        metrics.EVENT_CLIENTS.set(self._clients)
        try:
            yield
        finally:
            self._clients -= 1
            metrics.EVENT_CLIENTS.set(self._clients)


@contextlib.asynccontextmanager
async def opened(settings: NotifierSettings, hub: Hub, health: Health) -> AsyncIterator[Door]:
    """The door with its port, which `health` is told as `events`. Fatal if it cannot be had."""
    door.check_host("TRAPSTREAM_EVENTS_HOST", settings.events_host, settings.api_keys)
    made = Door(settings, door.keys_of(settings.api_keys), hub)
    async with contextlib.AsyncExitStack() as held:
        place = door.listening(
            made.app(),
            settings.events_host,
            settings.events_port,
            most=settings.events_clients + _SPARE_CONNECTIONS,
            seconds=settings.events_patience_seconds,
            shutdown=1.0,
            cancels=True,
        )
        try:
            health.details["events"] = await held.enter_async_context(place)
        except OSError as error:
            raise Fatal(
                f"port {settings.events_port} for events cannot be had ({error.strerror}); set TRAPSTREAM_EVENTS_PORT "
                "to a free one, or to 0"
            ) from error
        log.get_logger().info("events", port=health.details["events"], keys=settings.api_keys is not None)
        held.callback(hub.stop)
        yield made


def _keep_little(request: web.Request) -> None:
    """Has the system keep little of what a client does not read: it would take megabytes of each."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as one line of JSON, and never a traceback."""
    try:
        return await handler(request)
    except BadRequest as error:
        return door.refusal(request, error.status, str(error), error.retry_after)
    except (wishes.BadWish, BadId) as error:
        return door.refusal(request, 400, str(error))
    except BadKeys as error:
        log.get_logger().error("API keys unusable", error=str(error))
        return door.refusal(request, 503, "the API keys cannot be read; the operator's log says why", 60.0)
    except web.HTTPException as error:
        told = "GET /v1/jobs/JOB/events gives a job's results, GET /v1/series/NAME/events those of a series"
        text = told if error.status in (404, 405) else error.reason
        return door.refusal(request, error.status, text)
    except Exception as error:  # a client gets a line, whatever went wrong; the log gets the rest
        log.get_logger().error("stream failed unexpectedly", error=repr(error), exc_info=True)
        return door.refusal(request, 500, "unexpected error; the operator's log says more")
