"""The notifier at work: streams of events and webhooks. It reads Kafka, and writes nothing to it."""

import asyncio

from notifier import secret
from notifier.events_api import opened
from notifier.hub import Hub
from notifier.webhooks import Webhooks
from trapstream.core import kafka, log
from trapstream.core.owner import owned
from trapstream.core.service import Health
from trapstream.core.settings import NotifierSettings

_DELIVERS = "notifier delivers the webhooks of this state folder"


async def main(settings: NotifierSettings, stop: asyncio.Event, health: Health) -> None:
    """Sends events until `stop`. Fatal for wrong settings."""
    key = secret.signing_key(settings)
    hub = Hub(settings.kafka)
    webhooks = Webhooks(settings, hub, key)
    hub.on_spec = webhooks.on_spec
    ready = asyncio.Event()
    async with opened(settings, hub, health) as api, asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_follow(settings, hub, ready))
        delivering = tasks.create_task(_deliver(settings, webhooks, ready))
        stopped = tasks.create_task(stop.wait())
        if await _first(ready, stopped):
            api.ready = health.ready = True
            log.get_logger().info("ready")
            await stopped
        hub.stop()
        if health.ready:
            await asyncio.wait({delivering}, timeout=settings.drain_seconds / 2)
        delivering.cancel()
        following.cancel()


async def _first(ready: asyncio.Event, stopped: "asyncio.Task[bool]") -> bool:
    """True once `ready`; False if it is stopped before that."""
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return ready.is_set()


async def _follow(settings: NotifierSettings, hub: Hub, ready: asyncio.Event) -> None:
    await kafka.create_topics(settings.kafka)
    await hub.run(ready)


async def _deliver(settings: NotifierSettings, webhooks: Webhooks, ready: asyncio.Event) -> None:
    await ready.wait()
    async with owned(settings.folder, _DELIVERS):
        await webhooks.run()
