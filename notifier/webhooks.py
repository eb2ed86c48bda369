"""The webhooks of all jobs: a task for each, so that a dead receiver holds up no other."""

import asyncio
from collections.abc import Callable

from notifier.delivery import Delivery
from notifier.hub import Hub
from notifier.posting import Poster
from notifier.webhook_cursors import WebhookCursors
from trapstream.core import log
from trapstream.core.event_filter import BadFilter, log_address
from trapstream.core.messages import JobSpec, Webhook
from trapstream.core.settings import NotifierSettings

_MOST = 1_000
"""Webhooks at work at once; further ones wait until one ends."""

Make = Callable[[JobSpec, Webhook], Delivery]


class Webhooks:
    """One a state folder. `run` keeps it."""

    def __init__(self, settings: NotifierSettings, hub: Hub, key: bytes) -> None:
        """`key`: to sign with."""
        self._settings, self._hub, self._key = settings, hub, key
        self._tasks: dict[tuple[str, str], tuple[Webhook, asyncio.Task[None]]] = {}
        """By job and address."""
        self._changed: dict[str, JobSpec] = {}
        self._slots = asyncio.Semaphore(_MOST)

    def on_spec(self, spec: JobSpec) -> None:
        """Takes a job's newest spec."""
        if spec.webhooks or spec.job in self._changed or any(job == spec.job for job, _ in self._tasks):
            self._changed[spec.job] = spec

    async def run(self) -> None:
        """Delivers until the hub stops, and until the requests that are on their way then have ended.

        Fatal for a damaged file of cursors.
        """
        cursors = WebhookCursors(self._settings.folder)
        poster = Poster(self._settings.webhook_seconds, self._settings.allow_private_webhooks)

        def make(spec: JobSpec, webhook: Webhook) -> Delivery:
            return Delivery(self._settings, self._hub, cursors, poster, self._key, spec, webhook)

        try:
            cursors.keep_only(self._hub.jobs.specs.keys())
            async with asyncio.TaskGroup() as group:
                news = asyncio.Event()
                with self._hub.waking(news):
                    while not self._hub.stopping.is_set():
                        news.clear()
                        changed, self._changed = self._changed, {}
                        for spec in changed.values():
                            self._apply(spec, group, make)
                        await news.wait()
        finally:
            await poster.close()
            cursors.close()

    def _apply(self, spec: JobSpec, group: asyncio.TaskGroup, make: Make) -> None:
        wanted = {webhook.url: webhook for webhook in spec.webhooks}
        for (job, url), (webhook, task) in list(self._tasks.items()):
            if job == spec.job and wanted.get(url) != webhook:
                task.cancel()
        for url, webhook in wanted.items():
            running = self._tasks.get((spec.job, url))
            if running is None or running[0] != webhook:
                self._begin(spec, webhook, running[1] if running is not None else None, group, make)

    def _begin(
        self, spec: JobSpec, webhook: Webhook, before: asyncio.Task[None] | None, group: asyncio.TaskGroup, make: Make
    ) -> None:
        try:
            delivery = make(spec, webhook)
        except BadFilter as error:
            log.get_logger().error("webhook unusable", job=spec.job, to=log_address(webhook.url), error=str(error))
            return

        async def deliver() -> None:
            if before is not None:
                await asyncio.wait({before})  # its cursor must be saved before it is read
            if self._slots.locked():
                log.get_logger().warning("webhook waits for another to end", job=spec.job, most=_MOST)
            async with self._slots:
                await delivery.run()

        key, task = (spec.job, webhook.url), group.create_task(deliver())
        self._tasks[key] = webhook, task

        def forget(_: asyncio.Task[None]) -> None:
            if (current := self._tasks.get(key)) is not None and current[1] is task:
                del self._tasks[key]

        task.add_done_callback(forget)
