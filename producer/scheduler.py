"""Which jobs this producer publishes: it starts and stops a task for each as specs come and partitions go."""

import asyncio
from collections.abc import Iterable

from producer import cursor
from producer.pace import Pace
from producer.publish import Publisher, Sender
from trapstream.core import log, retry, states
from trapstream.core.messages import JobSpec
from trapstream.core.meters import Meter
from trapstream.core.settings import ProducerSettings

_CHECKS = 2


def is_open(spec: JobSpec) -> bool:
    """Whether references of the job may still have to be published here; a live job's are by `producer.live`."""
    return spec.series is None and spec.total is None and spec.failed is None and not spec.cancelled


class PublishScheduler:
    """The jobs of the partitions that this producer holds, and their tasks."""

    def __init__(
        self,
        settings: ProducerSettings,
        sender: Sender,
        group: asyncio.TaskGroup,
        stop: asyncio.Event,
        meter: Meter,
    ) -> None:
        self._settings, self._sender, self._group = settings, sender, group
        self.pace = Pace(settings)
        self._publisher = Publisher(settings, sender, self.pace, meter, stop, asyncio.Semaphore(_CHECKS))
        meter.held = meter.work  # while it sends, the rest of the manifest waits; the pace is no work
        self._specs: dict[int, dict[str, JobSpec]] = {}
        self._written: dict[str, JobSpec] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def update(self, partition: int, spec: JobSpec) -> None:
        """Takes a job's newest spec. A job that is open no more stops at once."""
        known = self._specs.setdefault(partition, {})
        whole = known[spec.job] = states.merged(known.get(spec.job), spec)
        self._written[spec.job] = spec
        if not is_open(whole):
            task = self._tasks.pop(whole.job, None)
            if task is not None and whole.cancelled:
                task.cancel()  # a task that sealed or failed its job ends by itself
            cursor.remove(cursor.cursor_path(self._settings.cursors, whole.job))

    def forget(self, partition: int, job: str) -> None:
        """Drops a job whose retention is over."""
        self._specs.get(partition, {}).pop(job, None)
        self._written.pop(job, None)
        if (task := self._tasks.pop(job, None)) is not None:
            task.cancel()
        cursor.remove(cursor.cursor_path(self._settings.cursors, job))

    def start(self) -> None:
        """Starts every open job that has no task. To be called when the log of `jobs` is read to its end."""
        for known in self._specs.values():
            for spec in known.values():
                if self._written[spec.job] != spec:  # two writers crossed: the topic must end with the merged spec
                    self._written[spec.job] = spec
                    self._group.create_task(self._sender.send_spec(spec))
                if is_open(spec) and spec.job not in self._tasks:
                    self._tasks[spec.job] = self._group.create_task(self._publish(spec))

    async def release(self, partitions: Iterable[int]) -> None:
        """Stops the jobs of partitions that are no longer this producer's; returns when they have stopped."""
        jobs = [job for partition in partitions for job in self._specs.pop(partition, {})]
        tasks = [task for job in jobs if (task := self._tasks.pop(job, None)) is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def drain(self) -> None:
        """Waits for the tasks to end at a chunk, which they do once the service stops."""
        self.pace.wake()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _publish(self, spec: JobSpec) -> None:
        log.get_logger().info("publishing", job=spec.job, images=spec.images, lane=spec.lane.value)
        await retry.until_back(lambda: self._publisher.publish(spec), "kafka")
