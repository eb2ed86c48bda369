"""The HTTP door: `GET /v1/jobs/JOB/events`, a stream of server-sent events."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

from aiohttp import web

from notifier import resume
from notifier.hub import Hub
from notifier.listening import Listening
from notifier.resume import BadId
from notifier.stream import Stream
from trapstream.core import door, log, metrics, wishes
from trapstream.core.connections import timed
from trapstream.core.door import BadRequest, Handler
from trapstream.core.errors import Fatal
from trapstream.core.kafka import job_partition
from trapstream.core.keys import BadKeys, Keys
from trapstream.core.service import Health
from trapstream.core.settings import NotifierSettings

_KNOWN = wishes.WORDS | {"from"}
_SPARE_CONNECTIONS = 20
"""For those who are told that there is no room."""
_FIND_SECONDS = 2.0
"""A job of which a 202 was said just now may be on its way still."""
_FULL_SECONDS = 5.0
_UNREAD_BYTES = 128 * 1024


class Door:
    """The routes; closed until `ready`."""

    def __init__(self, settings: NotifierSettings, keys: Keys | None, hub: Hub) -> None:
        self._settings, self._keys, self._hub = settings, keys, hub
        self._clients = 0
        self.ready = False

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[timed, _explained])
        app.add_routes([web.get("/v1/jobs/{job}/events", self._events, allow_head=False)])
        return app

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._keys is None:
            door.require_local(request)
        door.authorised(request, self._keys)
        if not self.ready or self._hub.stopping.is_set():
            raise BadRequest(503, "the events are not there yet, or no more", 1.0)
        job = request.match_info["job"]
        if strange := [word for word in request.query if word not in _KNOWN]:
            raise BadRequest(400, f"there is no filter {strange[0]!r}: {', '.join(sorted(_KNOWN))} are known")
        from_now = request.query.get("from", "beginning")
        if from_now not in {"beginning", "now"}:
            raise BadRequest(400, "from is beginning or now")
        wish = wishes.wish(request.query.items())
        last = request.headers.get("Last-Event-ID")
        begin = resume.start(last, job_partition(job), wish.cooldown > 0)
        if self._clients >= self._settings.events_clients:
            raise BadRequest(503, f"{self._clients} clients listen already, which is the most", _FULL_SECONDS)
        with self._counted():
            spec = await self._hub.find(job, _FIND_SECONDS)
            if spec is None:
                raise BadRequest(404, f"there is no job {job!r}")
            if last == resume.END and self._hub.status(job) is not None:
                return web.Response(status=204)  # by which a browser's EventSource knows that it is over
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            )
            stream = Stream(
                self._settings, self._hub, spec, Listening(wish, spec.model), response, lambda: self._may(request)
            )
            _keep_little(request)
            await response.prepare(request)
            await self._run(request, stream, begin, from_now == "now" and not begin.told)
            return response

    async def _run(self, request: web.Request, stream: Stream, begin: resume.Start, from_now: bool) -> None:
        try:
            await stream.run(begin, from_now)
        except TimeoutError:
            metrics.EVENT_CLIENTS_CUT.inc()
            log.get_logger().warning("listener cut off: it does not read", job=request.match_info["job"])
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it has gone, as listeners do
        except Exception as error:  # its head is sent: all that is left to say is that it ends
            log.get_logger().error("stream failed unexpectedly", error=repr(error), exc_info=True)
            if request.transport is not None:
                request.transport.abort()

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
        text = "GET /v1/jobs/JOB/events gives a job's results" if error.status in (404, 405) else error.reason
        return door.refusal(request, error.status, text)
    except Exception as error:  # a client gets a line, whatever went wrong; the log gets the rest
        log.get_logger().error("stream failed unexpectedly", error=repr(error), exc_info=True)
        return door.refusal(request, 500, "unexpected error; the operator's log says more")
