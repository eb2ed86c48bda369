"""What all HTTP doors of this system share: keys, errors as one line of JSON, the port and its connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from aiohttp import web

from trapstream.core import json_codec, log, metrics
from trapstream.core.addresses import is_loopback
from trapstream.core.errors import BadInput, Fatal, TrapstreamError
from trapstream.core.keys import BadKeys, Key, Keys

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MOST_HEADER = 8190
_MOST_LEAVING = 200
_LEAVE_SECONDS = 1.0


class BadRequest(TrapstreamError):
    """A request that is refused: a status of HTTP and one line that says why."""

    def __init__(self, status: int, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


def keys_of(path: Path | None) -> Keys | None:
    """The keys of a file; None where none is named. Fatal."""
    try:
        return Keys(path) if path is not None else None
    except BadKeys as error:
        raise Fatal(str(error)) from error


def check_host(variable: str, host: str, keys: Path | None) -> None:
    """Fatal for a door that would be open to everybody by mistake. `variable` names its setting."""
    if keys is None and not is_loopback(host):
        raise Fatal(
            f"{variable} is {host}: without API keys everybody there could come in; name a file of keys in "
            "TRAPSTREAM_API_KEYS, or listen on 127.0.0.1"
        )


def authorised(request: web.Request, keys: Keys | None) -> Key | None:
    """The request's key, which comes as `Authorization: Bearer KEY`. BadRequest; BadKeys.

    None without keys: then only programs of this machine may ask, and no web page that a browser shows on it.
    """
    if keys is None:
        origin = request.headers.get("Origin")
        own = is_loopback(urlsplit(f"//{request.host}").hostname or "")
        if not own or (origin is not None and urlsplit(origin).netloc != request.host):
            raise BadRequest(403, "without API keys requests are taken from programs of this machine only")
        return None
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    key = keys.find(given.strip() if kind.lower() == "bearer" else "")
    if key is None or key.revoked:
        # One answer for both: whether a key was ever one is nobody's business.
        raise BadRequest(401, "a valid API key is needed: send it as `Authorization: Bearer KEY`")
    return key


def answer_to(request: web.Request, error: Exception, routes: str) -> web.Response:
    """The answer to a request that ended in `error`: one line of JSON, never a traceback. `routes`: what is here."""
    match error:
        case BadRequest():
            return refusal(request, error.status, str(error), error.retry_after)
        case BadInput():
            return refusal(request, 400, str(error))
        case BadKeys():
            log.get_logger().error("API keys unusable", error=str(error))
            return refusal(request, 503, "the API keys cannot be read; the operator's log says why", 60.0)
        case web.HTTPException():
            return refusal(request, error.status, routes if error.status in (404, 405) else error.reason)
    log.get_logger().error("request failed unexpectedly", path=request.path, error=repr(error), exc_info=error)
    return refusal(request, 500, "unexpected error; the operator's log says more")


def refusal(request: web.Request, status: int, text: str, retry_after: float | None = None) -> web.Response:
    """The answer to a request that is refused."""
    answer = as_json({"error": text}, status)
    if retry_after is not None:
        answer.headers["Retry-After"] = str(max(1, round(retry_after)))
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if request.can_read_body:
        answer.force_close()  # the rest of a body is not read
    return answer


def as_json(value: object, status: int) -> web.Response:
    """An answer that is JSON."""
    return web.Response(body=json_codec.encode(value), status=status, content_type="application/json")


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    variable: str,
    *,
    most: int,
    seconds: float,
    shutdown: float,
    cancels: bool = False,
) -> AsyncIterator[int]:
    """Has `app` listen, and gives its port. At most `most` connections, each with `seconds` for a head.

    Fatal if the port cannot be had; `variable` names its setting. `shutdown`: seconds for requests in hand when it
    closes. `cancels`: a client that goes ends its request.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown, handler_cancellation=cancels)
    await runner.setup()
    server: web.Server | None = runner.server
    assert server is not None
    connections = Connections(server, most, seconds)
    try:
        try:
            listener = await asyncio.get_running_loop().create_server(connections, host, port, backlog=1024)
        except OSError as error:
            raise Fatal(
                f"port {port} cannot be had ({error.strerror}); set {variable} to a free one, or to 0"
            ) from error
        with contextlib.closing(listener):
            given: int = listener.sockets[0].getsockname()[1]
            yield given
    finally:
        await runner.cleanup()


class Connections:
    """Makes the protocol of each new connection, while there is room for one."""

    def __init__(self, server: web.Server, most: int, seconds: float) -> None:
        """`most`: connections at once. `seconds`: in which a request's head must have come."""
        self._server, self._most = server, most
        self.seconds = seconds
        self._open = 0
        self.leaving = 0
        """Of those without room, how many are not gone yet."""

    def __call__(self) -> asyncio.Protocol:
        """A protocol, as `loop.create_server` wants it."""
        if self._open >= self._most:
            return _Full(self)
        self._open += 1
        metrics.API_CONNECTIONS.set(self._open)
        return _Timed(self, self._server, loop=asyncio.get_running_loop())

    def left(self) -> None:
        """One has gone."""
        self._open -= 1
        metrics.API_CONNECTIONS.set(self._open)


class _Timed(web.RequestHandler):
    """A connection that is ended where no request begins for too long: idle, or one byte of the head at a time."""

    __slots__ = ("_connections", "_deadline")

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=connections.seconds,
            max_line_size=_MOST_HEADER,
            max_field_size=_MOST_HEADER,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self.ended()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Makes room for another one."""
        super().connection_lost(exc)
        self.begun()
        self._connections.left()

    def begun(self) -> None:
        """A request's head is here."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def ended(self) -> None:
        """The request is answered: the next one may come."""
        self.begun()
        self._deadline = asyncio.get_running_loop().call_later(self._connections.seconds, self._end)

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Full(asyncio.Protocol):
    """Says that there is no room, and hangs up: once asked, or after a moment.

    A client that is hung up on in the middle of its request would not hear it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._said = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for a request, where few are waited for."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and not by inheritance
        if self._connections.leaving >= _MOST_LEAVING:
            self._end()
            return
        self._connections.leaving += 1
        self._deadline = asyncio.get_running_loop().call_later(_LEAVE_SECONDS, self._end)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - every request has the same answer
        """Says it; the bytes that follow are read and forgotten until the deadline."""
        self._say()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The other side has gone, or had its time."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._connections.leaving -= 1

    def _say(self) -> None:
        if self._said or self._transport is None:
            return
        self._said = True
        body = json_codec.encode({"error": "too many connections; come back in a moment"})
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)

    def _end(self) -> None:
        self._say()
        if self._transport is not None:
            self._transport.close()


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells the connection when a request begins and ends."""
    protocol = request.protocol
    assert isinstance(protocol, _Timed)
    protocol.begun()
    try:
        return await handler(request)
    finally:
        protocol.ended()
