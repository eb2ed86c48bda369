"""A listener to a job's stream of events: when each image's event was here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import msgspec

from bench.stacks import BenchError

_PATIENCE = 60.0


class Heard:
    """The events that came. For one event loop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        """Set once the stream is open: no later event is missed."""
        self._times: dict[str, float] = {}
        self._news = asyncio.Event()

    def take(self, image: str) -> None:
        """An image's event is here."""
        self._times.setdefault(image, time.perf_counter())
        self._news.set()

    async def time(self, image: str) -> float:
        """When the image's event came, by time.perf_counter. BenchError if it does not come."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while image not in self._times:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise BenchError(f"no event of {image} came within {_PATIENCE:.0f} s") from None
        return self._times[image]


@contextlib.asynccontextmanager
async def listening(address: str, job: str) -> AsyncIterator[Heard]:
    """Listens to the job from now on, at `address` (host:port of the events)."""
    heard = Heard()
    task = asyncio.create_task(_listen(f"http://{address}/v1/jobs/{job}/events?from=now", heard))
    begun = asyncio.create_task(heard.begun.wait())
    try:
        await asyncio.wait({task, begun}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not heard.begun.is_set():
            raise BenchError(f"the stream of events did not begin: {task!r}")
        yield heard
    finally:
        begun.cancel()
        task.cancel()


async def _listen(url: str, heard: Heard) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session, session.get(url) as reply:
        if reply.status != 200:
            raise BenchError(f"the stream of events got {reply.status}: {(await reply.text())[:200]}")
        event = b""
        async for line in reply.content:
            heard.begun.set()
            name, _, value = line.strip().partition(b": ")
            if name == b"event":
                event = value
            elif name == b"data" and event == b"result":
                heard.take(msgspec.json.decode(value)["id"])
