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
    hub, ready = Hub(settings.kafka), asyncio.Event()
    webhooks = Webhooks(settings, hub, key)
    hub.on_spec = webhooks.on_spec

    async def follow() -> None:
        await kafka.create_topics(settings.kafka)
        await hub.run(ready)

    async def serve() -> None:
        await ready.wait()
        api.ready = health.ready = True
        log.get_logger().info("ready")
        async with owned(settings.folder, _DELIVERS):
            await webhooks.run()

    async with opened(settings, hub, health) as api, asyncio.TaskGroup() as tasks:
        following, serving = tasks.create_task(follow()), tasks.create_task(serve())
        await stop.wait()
        hub.stop()
        if webhooks.running:
            await asyncio.wait({serving}, timeout=settings.drain_seconds / 2)
        serving.cancel()
        following.cancel()
