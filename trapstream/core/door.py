"""The parts that all HTTP doors of this system share: keys, the port, and errors as one line of JSON."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from trapstream.core import json_codec
from trapstream.core.addresses import is_loopback
from trapstream.core.connections import Connections
from trapstream.core.errors import Fatal, TrapstreamError
from trapstream.core.keys import BadKeys, Key, Keys

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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


def require_local(request: web.Request) -> None:
    """Without keys only programs of this machine may ask, and no web page that a browser shows on it. BadRequest."""
    origin = request.headers.get("Origin")
    own = is_loopback(urlsplit(f"//{request.host}").hostname or "")
    if not own or (origin is not None and urlsplit(origin).netloc != request.host):
        raise BadRequest(403, "without API keys requests are taken from programs of this machine only")


def bearer(request: web.Request) -> str:
    """The key that the request carries; empty where it carries none."""
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else ""


def authorised(request: web.Request, keys: Keys | None) -> Key | None:
    """The request's key; None where none is needed. BadRequest; BadKeys."""
    if keys is None:
        return None
    key = keys.find(bearer(request))
    if key is None or key.revoked:
        # One answer for both: whether a key was ever one is nobody's business.
        raise BadRequest(401, "a valid API key is needed: send it as `Authorization: Bearer KEY`")
    return key


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
    app: web.Application, host: str, port: int, *, most: int, seconds: float, shutdown: float, cancels: bool = False
) -> AsyncIterator[int]:
    """Has `app` listen, and gives its port. At most `most` connections, each with `seconds` for a head. OSError.

    `shutdown`: seconds for requests in hand when it closes. `cancels`: a client that goes ends its request.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown, handler_cancellation=cancels)
    await runner.setup()
    server: web.Server | None = runner.server
    assert server is not None
    connections = Connections(server, most, seconds)
    try:
        listener = await asyncio.get_running_loop().create_server(connections, host, port, backlog=1024)
        with contextlib.closing(listener):
            given: int = listener.sockets[0].getsockname()[1]
            yield given
    finally:
        await runner.cleanup()
