"""The webhooks of all jobs: a task for each, so that a dead receiver holds up no other."""

import asyncio
from functools import partial

from notifier.delivery import Delivery
from notifier.hub import Hub
from notifier.posting import Poster
from notifier.webhook_cursors import WebhookCursors
from trapstream.core import log
from trapstream.core.messages import JobSpec, Webhook
from trapstream.core.settings import NotifierSettings

_MOST = 1_000
"""Webhooks at work at once; further ones wait until one ends."""


class Webhooks:
    """One a state folder. `run` keeps it."""

    def __init__(self, settings: NotifierSettings, hub: Hub, key: bytes) -> None:
        """`key`: to sign with."""
        self._settings, self._hub, self._key = settings, hub, key
        self._tasks: dict[tuple[str, str], tuple[Webhook, asyncio.Task[None]]] = {}
        """By job and address."""
        self._changed: dict[str, JobSpec] = {}
        self._slots = asyncio.Semaphore(_MOST)
        self.running = False
        """Whether it has begun to deliver: another notifier may have the state folder."""

    def on_spec(self, spec: JobSpec) -> None:
        """Takes a job's newest spec."""
        if spec.webhooks or spec.job in self._changed or any(job == spec.job for job, _ in self._tasks):
            self._changed[spec.job] = spec

    async def run(self) -> None:
        """Delivers until the hub stops, and until the requests that are on their way then have ended.

        Fatal for a damaged file of cursors.
        """
        self.running = True
        cursors, news = WebhookCursors(self._settings.folder), asyncio.Event()
        poster = Poster(self._settings.webhook_seconds, self._settings.allow_private_webhooks)
        try:
            cursors.keep_only(self._hub.jobs.specs.keys())
            async with asyncio.TaskGroup() as group:
                with self._hub.waking(news):
                    while not self._hub.stopping.is_set():
                        news.clear()
                        changed, self._changed = self._changed, {}
                        for spec in changed.values():
                            self._apply(spec, group, cursors, poster)
                        await news.wait()
        finally:
            await poster.close()
            cursors.close()

    def _apply(self, spec: JobSpec, group: asyncio.TaskGroup, cursors: WebhookCursors, poster: Poster) -> None:
        """Cancels the deliveries that the job no longer names, and begins those that it names anew."""
        wanted = {webhook.url: webhook for webhook in spec.webhooks}
        for (job, url), (webhook, task) in list(self._tasks.items()):
            if job == spec.job and wanted.get(url) != webhook:
                task.cancel()
        for url, webhook in wanted.items():
            running = self._tasks.get((spec.job, url))
            if running is None or running[0] != webhook:
                delivery = Delivery(self._settings, self._hub, cursors, poster, self._key, spec, webhook)
                before = running[1] if running is not None else None
                task = group.create_task(self._deliver(spec.job, delivery, before))
                self._tasks[spec.job, url] = webhook, task
                task.add_done_callback(partial(self._forget, (spec.job, url)))

    async def _deliver(self, job: str, delivery: Delivery, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})  # its cursor must be saved before it is read
        if self._slots.locked():
            log.get_logger().warning("webhook waits for another to end", job=job, most=_MOST)
        async with self._slots:
            await delivery.run()

    def _forget(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if (current := self._tasks.get(key)) is not None and current[1] is task:
            del self._tasks[key]
