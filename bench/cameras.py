"""Both ends of a live image: cameras that upload it when it is due, whether those before it were answered or not, and a
listener to the stream of events."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench import load
from bench.stacks import BenchError
from trapstream.core import json_codec

_WAIT_SECONDS = 60
_EVENT_SECONDS = 60.0
_NUMBERS = itertools.count()
_COMMENT = b"\xff\xfe"


@dataclass(frozen=True)
class Answered:
    """One image's answer."""

    image: str
    """JOB/SEQ."""
    due: float
    """When it was, by time.perf_counter: a sender that is late makes its event later, and hides nothing."""
    ms: dict[str, float]
    """How much of it each stage of the consumer took."""


def due_times(rate: float, seconds: float, chance: random.Random) -> list[float]:
    """Seconds from the beginning at which images are due: one at a moment by chance in each 1 / `rate`, so that they
    keep no step with anything that happens once a second."""
    return [(number + chance.random()) / rate for number in range(round(rate * seconds))]


def numbered(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment in it: bytes that the door has not seen, and so another image to it."""
    text = b"%d" % number
    return jpeg[:2] + _COMMENT + (2 + len(text)).to_bytes(2, "big") + text + jpeg[2:]


async def answer(session: aiohttp.ClientSession, api: str, series: str, number: int, jpeg: bytes) -> dict[str, Any]:
    """Uploads an image and returns what the door says of it, once its detections are here, as the upload's own answer
    (`wait`). BenchError if they do not come."""
    url = f"http://{api}/v1/images?job={series}&file={number}.jpg&wait={_WAIT_SECONDS}&times=1"
    try:
        async with session.post(url, data=jpeg) as reply:
            body = await reply.read()
    except aiohttp.ClientError as error:
        raise BenchError(f"the upload failed: {error!r}") from error
    if reply.status == 202:
        raise BenchError(f"an image was not done within {_WAIT_SECONDS} s: more images come than this machine can do")
    if reply.status != 200:
        raise BenchError(f"the upload got {reply.status}: {body.decode(errors='replace')[:200]}")
    [image] = json_codec.decode(body)["images"]
    return dict(image)


async def offered(
    api: str, series: str, photos: Sequence[str], rate: float, seconds: float, chance: random.Random
) -> list[Answered]:
    """Uploads `rate` images a second for so long, and waits for the last answer."""
    encoded = [load.local(uri).read_bytes() for uri in photos]
    found: list[Answered] = []

    async def one(session: aiohttp.ClientSession, due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        number = next(_NUMBERS)
        image = await answer(session, api, series, number, numbered(encoded[number % len(encoded)], number))
        found.append(Answered(image["id"], due, image["ms"]))

    try:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as uploads:
            began = time.perf_counter()
            for due in due_times(rate, seconds, chance):
                uploads.create_task(one(session, began + due))
    except ExceptionGroup as group:  # the first upload that fails ends the others, and says enough
        raise group.exceptions[0] from None
    return found


class EventTimes:
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
            async with asyncio.timeout(_EVENT_SECONDS):
                while image not in self._times:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise BenchError(f"no event of {image} came within {_EVENT_SECONDS:.0f} s") from None
        return self._times[image]


@contextlib.asynccontextmanager
async def listening(address: str, job: str) -> AsyncIterator[EventTimes]:
    """Listens to the job from now on, at `address` (host:port of the events)."""
    times = EventTimes()
    task = asyncio.create_task(_listen(f"http://{address}/v1/jobs/{job}/events?from=now", times))
    begun = asyncio.create_task(times.begun.wait())
    try:
        await asyncio.wait({task, begun}, timeout=_EVENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not times.begun.is_set():
            raise BenchError(f"the stream of events did not begin: {task!r}")
        yield times
    finally:
        begun.cancel()
        task.cancel()


async def _listen(url: str, times: EventTimes) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session, session.get(url) as reply:
        if reply.status != 200:
            raise BenchError(f"the stream of events got {reply.status}: {(await reply.text())[:200]}")
        event = b""
        async for line in reply.content:
            times.begun.set()
            name, _, value = line.strip().partition(b": ")
            if name == b"event":
                event = value
            elif name == b"data" and event == b"result":
                times.take(json_codec.decode(value)["id"])
