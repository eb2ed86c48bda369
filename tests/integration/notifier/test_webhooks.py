"""Webhooks over the real log, with receivers that take, hang, fail and send elsewhere."""

import asyncio
import base64
import contextlib
import hmac
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from tests.integration.aggregator import harness
from tests.integration.notifier.listener import Receiver, receiver
from tests.integration.notifier.test_events import status
from tests.integration.service import Service, service
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import faults, kafka
from trapstream.core.messages import EventFilter, Webhook

IMAGES = 60
ALL = EventFilter()
SECRET = "sixteen bytes at least, and known to both"


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def broken(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="x" * 1_000_000)


async def elsewhere(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"http://{request.host}/private")


@contextlib.asynccontextmanager
async def told(
    servers: str, job: str, receiver: Receiver, *paths: str, event_filter: EventFilter = ALL, **changes: Any
) -> AsyncIterator[None]:
    """A sealed job with webhooks; at the end nobody is told of it any more."""
    await kafka.create_topics(servers)
    hooks = tuple(Webhook(url=f"{receiver.url}{path}?token=hush", event_filter=event_filter) for path in paths)
    spec = harness.sealed(job, IMAGES, **changes)
    await harness.send_spec(servers, replace(spec, webhooks=hooks))
    try:
        yield
    finally:
        await harness.send_spec(servers, spec)


def given_up(process: Service) -> int:
    return process.log.count("webhook gives an event up")


async def test_bad_receivers_slow_nobody(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """One that hangs, one that answers 500 and one that redirects are given up, in the log; a good one has all."""
    job = member
    ways = {"/hang": hang, "/500": broken, "/302": elsewhere}
    async with receiver(ways) as server, told(stack.kafka, job, server, "/good", *ways):
        settings: dict[str, Any] = {"webhook_seconds": "1", "webhook_attempts": "2", "webhook_secret": SECRET}
        with service("notifier", tmp_path, stack.kafka, job, allow_private_webhooks="true", **settings) as notifier:
            await harness.send_results(stack.kafka, harness.results(job, IMAGES))

            async def all_there() -> bool:
                return len(server.images("/good")) >= IMAGES

            await eventually("the good one's", all_there)
            assert server.images("/good") == [f"{job}/{seq}" for seq in range(IMAGES)]
            assert given_up(notifier) < IMAGES, "the good one waited for nobody"

            async def said() -> bool:
                return given_up(notifier) >= 3 and all(len(server.images(path)) >= 2 for path in ways)

            await eventually("a word on the bad ones", said)
            assert all(server.images(path)[:2] == [f"{job}/0"] * 2 for path in ways)
            assert "/private" not in server.got
            assert "HTTP 500" in notifier.log and "no answer within 1 s" in notifier.log
            assert "redirects are not followed" in notifier.log
            assert "hush" not in notifier.log and SECRET not in notifier.log
        headers, body = server.got["/good"][0]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{digest}" and headers["Content-Type"] == "application/json"
        assert json.loads(body)["result"]["file"] == "site ä/IMG_000000.JPG"


async def test_a_cool_down_holds_over_the_jobs_of_a_series(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """A camera that rang in one day's job does not ring again at once in the next one's."""
    event_filter, days = EventFilter(cooldown=3600.0), (f"{member}-2026-11-01", f"{member}-2026-11-02")
    async with receiver({}) as server, contextlib.AsyncExitStack() as told_of:
        with service("notifier", tmp_path, stack.kafka, member, allow_private_webhooks="true") as notifier:
            for number, job in enumerate(days):
                created = time.time() + number
                await told_of.enter_async_context(
                    told(stack.kafka, job, server, "/good", event_filter=event_filter, series=member, created=created)
                )
                await harness.send_results(stack.kafka, harness.results(job, IMAGES))
                await harness.send_status(stack.kafka, status(job, IMAGES))
                await notifier.says("webhook is told all", number + 1)
            assert server.images("/good") == [f"{days[0]}/0"]


async def test_a_death_at_each_step_loses_nothing(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """It goes on where it was; only the event in hand comes twice, with the same id; the end is remembered."""
    event_filter = EventFilter(categories=("animal",), confidence=0.5)
    wanted = [f"{member}/{seq}" for seq in range(0, IMAGES, 3)]
    async with receiver({}) as server, told(stack.kafka, member, server, "/good", event_filter=event_filter):
        await harness.send_results(stack.kafka, harness.results(member, IMAGES))
        await harness.send_status(stack.kafka, status(member, IMAGES))
        fault: dict[str, Any] = {faults.VARIABLE.removeprefix("TRAPSTREAM_"): "deliver.1:5,deliver.2:8"}
        with service("notifier", tmp_path, stack.kafka, member, allow_private_webhooks="true", **fault) as notifier:
            for _ in range(2):
                assert await asyncio.to_thread(notifier.wait) == -signal.SIGKILL
                notifier.start()
            await notifier.says("webhook is told all")
            assert server.images("/good") == wanted[:5] + wanted[4:]
            assert notifier.stop() == 0


async def test_a_stand_by_stops_at_once(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """A notifier that waits for another one's lock has no delivery to wait for when it is stopped."""
    slow: dict[str, Any] = {"drain_seconds": "240"}
    with service("notifier", tmp_path, stack.kafka, member, **slow) as first:
        await first.says('"ready"')
        with service("notifier", tmp_path, stack.kafka, f"{member}-2", **slow) as second:
            await second.says("standing by")
            assert await asyncio.wait_for(asyncio.to_thread(second.stop), 60) == 0
