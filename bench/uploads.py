"""Cameras: images that come when they are due, whether those before them were answered or not."""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from bench import load
from bench.stacks import BenchError

_WAIT_SECONDS = 60
_NUMBERS = itertools.count()
_COMMENT = b"\xff\xfe"


@dataclass(frozen=True)
class Answered:
    """One image's answer."""

    image: str
    """JOB/SEQ."""
    due: float
    """When it was, by time.perf_counter."""
    seconds: float
    """From then to its answer: a sender that is late makes it longer, and hides nothing."""
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
    if reply.status != 200:
        raise BenchError(f"the upload got {reply.status}: {body.decode(errors='replace')[:200]}")
    [image] = msgspec.json.decode(body)["images"]
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
        found.append(Answered(image["id"], due, time.perf_counter() - due, image["ms"]))

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as uploads:
        began = time.perf_counter()
        for due in due_times(rate, seconds, chance):
            uploads.create_task(one(session, began + due))
    return found
