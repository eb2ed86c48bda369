"""Who listens while processes are killed: to a series' stream, taken up again by its last id, and by a webhook."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from bench.tools.chaos_stack import ChaosError, Stack
from trapstream.local import control

_AGAIN_SECONDS = 0.2
_SILENCE_SECONDS = 60.0
"""Of a stream: it has a comment more often."""


@dataclass
class Heard:
    """What came one way."""

    way: str
    entries: dict[str, Any] = field(default_factory=dict)
    """Image (JOB/SEQ) to its entry."""
    repeated: int = 0
    """Images that came again: consumers did them twice, or their event was on its way when somebody died."""
    records: set[str] = field(default_factory=set)
    """Of a stream: the places in the log of what was told. None of them may come twice."""
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What is in a file and never came."""
    begun: int = 0
    """Streams that were opened for the first time."""
    breaks: int = 0
    """Times that one was taken up again."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes, number: str | None = None) -> None:
        """An event's data and its id, or a webhook's body."""
        told = msgspec.json.decode(data)
        if number is not None:
            record = next(part for part in number.split(",") if part.rpartition(":")[0] == told["job"])
            if record in self.records:
                self.wrong.append(f"{self.way}: {record} was told twice")
            self.records.add(record)
        known = self.entries.setdefault(told["id"], told["result"])
        if known is not told["result"]:
            self.repeated += 1
            if known != told["result"]:
                self.wrong.append(f"{self.way}: {told['id']} came with two entries")
        self._news.set()

    def opened(self) -> None:
        """Another stream is there."""
        self.begun += 1
        self._news.set()

    async def all_begun(self, streams: int) -> None:
        """Returns once so many streams are open: from here on they may break."""
        while self.begun < streams:
            self._news.clear()
            await self._news.wait()

    async def all_of(self, images: Collection[str]) -> None:
        """Returns once all of these have come."""
        while not self.entries.keys() >= set(images):
            self._news.clear()
            await self._news.wait()

    def hold_against(self, entries: dict[str, Any]) -> None:
        """Notes what is missing or differs from the files' entries."""
        self.missing = sorted(entries.keys() - self.entries.keys())
        self.wrong += [f"{self.way}: {image} is in no file" for image in sorted(self.entries.keys() - entries.keys())]
        self.wrong += [
            f"{self.way}: {image} differs from its file"
            for image, entry in self.entries.items()
            if image in entries and entry != entries[image]
        ]

    @property
    def line(self) -> str:
        """The account for people."""
        breaks = f", {self.breaks} breaks" if self.breaks else ""
        account = f"{len(self.entries):,} images, {self.repeated:,} came again, {len(self.missing)} missing"
        return f"{self.way:<12} {account}{breaks}"


async def listen(stack: Stack, series: str, heard: Heard) -> None:
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
                                heard.opened()
                            heard.breaks += not first
                            first = False
                            async for number in _events(reply, heard):
                                last = number
                        elif reply.status not in (404, 503):
                            raise ChaosError(f"the stream of {series} after {last} got {reply.status}")
            await asyncio.sleep(_AGAIN_SECONDS)


async def _events(reply: aiohttp.ClientResponse, heard: Heard) -> AsyncIterator[str]:
    """Takes each event that is whole; its id."""
    block: dict[str, bytes] = {}
    async for line in reply.content:
        name, _, value = line.rstrip(b"\n").partition(b": ")
        if line != b"\n":
            block[name.decode()] = value
            continue
        if block.get("event") == b"result":
            heard.take(block["data"], block["id"].decode())
        elif block.get("event") not in (None, b"job"):
            heard.wrong.append(f"{heard.way}: {block}")
        if "id" in block:
            yield block["id"].decode()
        block = {}


@contextlib.asynccontextmanager
async def receiving(heard: Heard) -> AsyncIterator[str]:
    """A web server that takes webhooks; its address."""

    async def take(request: web.Request) -> web.Response:
        heard.take(await request.read())
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
