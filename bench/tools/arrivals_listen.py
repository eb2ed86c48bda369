"""The listeners while processes are killed: to a series' stream, taken up again by its last id, and by a webhook."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from bench.tools.arrivals_account import Received
from bench.tools.chaos_stack import ChaosError, Stack
from trapstream.local import control

_AGAIN_SECONDS = 0.2
_SILENCE_SECONDS = 60.0
"""Of a stream: it has a comment more often."""


async def listen(stack: Stack, series: str, received: Received) -> None:
    """Listens to a series until cancelled, and comes again after each break with the id of the last event."""
    last: str | None = None
    first = True
    timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            found = control.running(stack.home)
            if found is not None:
                url = f"http://{found.endpoints['events']}/v1/series/{series}/events"
                headers = {"Last-Event-ID": last} if last is not None else {}
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with session.get(url, headers=headers) as reply:
                        if reply.status == 200:
                            if first:
                                received.opened()
                            received.breaks += not first
                            first = False
                            async for number in _events(reply, received):
                                last = number
                        elif reply.status not in (404, 503):
                            raise ChaosError(f"the stream of {series} after {last} got {reply.status}")
            await asyncio.sleep(_AGAIN_SECONDS)


async def _events(reply: aiohttp.ClientResponse, received: Received) -> AsyncIterator[str]:
    """Takes each event that is whole; its id."""
    block: dict[str, bytes] = {}
    async for line in reply.content:
        name, _, value = line.rstrip(b"\n").partition(b": ")
        if line != b"\n":
            block[name.decode()] = value
            continue
        if block.get("event") == b"result":
            received.take(block["data"], block["id"].decode())
        elif block.get("event") not in (None, b"job"):
            received.wrong.append(f"{received.way}: {block}")
        if "id" in block:
            yield block["id"].decode()
        block = {}


@contextlib.asynccontextmanager
async def receiving(received: Received) -> AsyncIterator[str]:
    """A web server that takes webhooks; its address."""

    async def take(request: web.Request) -> web.Response:
        received.take(await request.read())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()
