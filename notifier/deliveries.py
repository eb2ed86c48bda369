"""The webhooks of all jobs: a task for each, so that a dead receiver holds up nobody else."""

import asyncio
import contextlib
from collections.abc import Callable

from notifier.delivery import Delivery
from notifier.hub import Hub
from notifier.places import Places
from notifier.posting import Poster
from trapstream.core import log
from trapstream.core.messages import JobSpec, Webhook
from trapstream.core.settings import NotifierSettings
from trapstream.core.wishes import BadWish, place_of

_MOST = 1_000
"""Webhooks at work at once; further ones wait until one ends."""
_STOP_SECONDS = 5.0
"""For what is on its way at a stop."""

Make = Callable[[JobSpec, Webhook], Delivery]
Key = tuple[str, str]
"""Job and address."""


class Deliveries:
    """One a state folder. `run` keeps it."""

    def __init__(self, settings: NotifierSettings, hub: Hub, key: bytes) -> None:
        self._settings, self._hub, self._key = settings, hub, key
        self._tasks: dict[Key, tuple[Webhook, asyncio.Task[None]]] = {}
        self._changed: dict[str, JobSpec] = {}
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(_MOST)

    def on_spec(self, spec: JobSpec) -> None:
        """Takes note of a job's newest spec."""
        if spec.webhooks or spec.job in self._changed or any(job == spec.job for job, _ in self._tasks):
            self._changed[spec.job] = spec
            self._news.set()

    async def run(self) -> None:
        """Delivers until the hub stops. Fatal for a damaged file of places."""
        places = Places(self._settings.folder)
        poster = Poster(self._settings.webhook_seconds, self._settings.allow_private_networks)

        def made(spec: JobSpec, webhook: Webhook) -> Delivery:
            return Delivery(self._settings, self._hub, places, poster, self._key, spec, webhook)

        try:
            places.keep_only(self._hub.jobs.specs.keys())
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(group, made))
                await self._hub.stopping.wait()
                watching.cancel()
                if left := [task for _, task in self._tasks.values()]:
                    _, late = await asyncio.wait(left, timeout=_STOP_SECONDS)
                    for task in late:
                        task.cancel()
        finally:
            await poster.close()
            places.close()

    async def _watch(self, group: asyncio.TaskGroup, made: Make) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            changed, self._changed = self._changed, {}
            for spec in changed.values():
                self._take(spec, group, made)

    def _take(self, spec: JobSpec, group: asyncio.TaskGroup, made: Make) -> None:
        wanted = {webhook.url: webhook for webhook in spec.webhooks}
        for (job, url), (webhook, task) in list(self._tasks.items()):
            if job == spec.job and wanted.get(url) != webhook:
                task.cancel()
        for url, webhook in wanted.items():
            running = self._tasks.get((spec.job, url))
            if running is None or running[0] != webhook:
                self._begin(spec, webhook, running[1] if running is not None else None, group, made)

    def _begin(
        self, spec: JobSpec, webhook: Webhook, before: asyncio.Task[None] | None, group: asyncio.TaskGroup, made: Make
    ) -> None:
        try:
            delivery = made(spec, webhook)
        except BadWish as error:
            log.get_logger().error("webhook unusable", job=spec.job, to=place_of(webhook.url), error=str(error))
            return

        async def deliver() -> None:
            if before is not None:
                await asyncio.wait({before})  # its place must be noted before it is read
            if self._room.locked():
                log.get_logger().warning("webhook waits for another to end", job=spec.job, most=_MOST)
            async with self._room:
                await delivery.run()

        task = group.create_task(deliver())
        key = spec.job, webhook.url
        self._tasks[key] = webhook, task

        def over(_: asyncio.Task[None]) -> None:
            with contextlib.suppress(KeyError):
                if self._tasks[key][1] is task:
                    del self._tasks[key]

        task.add_done_callback(over)
