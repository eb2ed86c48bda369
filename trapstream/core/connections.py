"""How many connections a door holds, and for how long one may say nothing. aiohttp itself bounds neither."""

import asyncio
from typing import Any, cast

from aiohttp import web

from trapstream.core import json_codec, metrics

_MOST_HEADER = 8190
_MOST_LEAVING = 200
_LEAVE_SECONDS = 1.0


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
async def timed(request: web.Request, handler: Any) -> web.StreamResponse:
    """Tells the connection when a request begins and ends."""
    protocol = request.protocol
    assert isinstance(protocol, _Timed)
    protocol.begun()
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    finally:
        protocol.ended()
