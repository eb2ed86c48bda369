"""A client of streams of events, and a receiver of webhooks, as users have them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

Event = dict[str, Any]
"""`event`, `id` and `data`."""


class Listener:
    """Listens to one job, or to a series; what it hears stays. After a break it comes again by its last id."""

    def __init__(self, port: int, name: str, query: str = "", last: str | None = None, of: str = "jobs") -> None:
        self._url = f"http://127.0.0.1:{port}/v1/{of}/{name}/events{query}"
        self.last = last
        self.events: list[Event] = []
        self.comments = 0
        self.statuses: list[int] = []

    @property
    def images(self) -> list[str]:
        """The images that were told, in order."""
        return [event["data"]["id"] for event in self.events if event["event"] == "result"]

    @property
    def gaps(self) -> list[Event]:
        """What it was told to be missing."""
        return [event for event in self.events if event["event"] == "gap"]

    async def run(self) -> None:
        """Until the `end` event, or a refusal."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            for _ in range(1_000):
                if await self._once(session):
                    return
                await asyncio.sleep(0.05)  # as a browser waits before it comes again
        raise AssertionError("came again a thousand times")

    async def _once(self, session: aiohttp.ClientSession) -> bool:
        headers = {"Last-Event-ID": self.last} if self.last is not None else {}
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with session.get(self._url, headers=headers) as answer:
                self.statuses.append(answer.status)
                if answer.status not in (200, 503):
                    return True
                block: list[str] = []
                async for line in answer.content:
                    text = line.decode().removesuffix("\n")
                    if text:
                        block.append(text)
                    elif self._take(block):
                        return True
                    else:
                        block = []
        return False

    def _take(self, block: list[str]) -> bool:
        self.comments += any(line.startswith(":") for line in block)
        fields = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
        self.last = fields.get("id", self.last)
        if "data" in fields:
            self.events.append({**fields, "data": msgspec.json.decode(fields["data"])})
        return fields.get("event") == "end"


@contextlib.asynccontextmanager
async def listening(
    port: int, name: str, query: str = "", last: str | None = None, of: str = "jobs"
) -> AsyncIterator[tuple[Listener, "asyncio.Task[None]"]]:
    """A listener at work, and the task that is done when it has heard the end."""
    listener = Listener(port, name, query, last, of)
    task = asyncio.create_task(listener.run())
    try:
        yield listener, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@dataclass
class Receiver:
    """A web server that takes webhooks; each path behaves as `ways` says, others take what comes."""

    url: str
    got: dict[str, list[tuple[Mapping[str, str], bytes]]] = field(default_factory=dict)
    """Path to the headers and the body of each request."""

    def images(self, path: str) -> list[str]:
        """The images that came there, in order."""
        return [headers["webhook-id"] for headers, _ in self.got.get(path, [])]


Way = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def receiver(ways: Mapping[str, Way]) -> AsyncIterator[Receiver]:
    """A receiver on this machine."""
    made = Receiver("")

    async def take(request: web.Request) -> web.StreamResponse:
        made.got.setdefault(request.path, []).append((request.headers.copy(), await request.read()))
        way = ways.get(request.path)
        return await way(request) if way is not None else web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
