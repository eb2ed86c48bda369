"""Paced publishing: the bulk lane holds few references ahead of its consumers, and jobs share these by weight.

A manifest of millions published at once would stand in the topic before every job that comes later, and a cancelled
one would have to be read to its end. So each job is given credit: its part of what the consumers took since the last
look. The live lane is not paced: its images are few, and nobody may wait behind them.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator

from producer.ahead import Ahead, divided
from producer.backlog import Figures, figures
from trapstream.core import log, metrics, retry
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.settings import ProducerSettings

_LOOK_SECONDS = 0.5
"""Between two looks at Kafka's figures, while a job is published. Two small requests each."""
_SAY_SECONDS = 10.0
"""When consumers have taken nothing for this long, the log says that they are away; and again after as long."""


class Credit:
    """The references that one job may send now."""

    def __init__(self, weight: float, left: float) -> None:
        self.weight = weight
        self.left = left
        """Below 1 the job waits. Infinite for a job that is not paced."""
        self.unsettled = 0
        """References sent that the figures of a look may lack: they were not acknowledged when it began."""
        self._acknowledged = 0
        """References of them that were acknowledged since."""
        self._granted = False
        self._woken = asyncio.Event()

    @property
    def used_up(self) -> bool:
        """Whether the job was given credit and has used it up."""
        return self._granted and self.left < 1

    def spend(self, count: int) -> None:
        """Takes off references that were sent."""
        self.left -= count
        self.unsettled += count

    def settle(self, count: int) -> None:
        """Counts references that were acknowledged."""
        self._acknowledged += count

    def begin_look(self) -> None:
        """Settles the references that the figures of a look hold for sure, since it begins only now."""
        self.unsettled -= self._acknowledged
        self._acknowledged = 0

    def grant(self, references: float) -> None:
        """Gives this job its part of a look, in place of the credit that it had; fractions of a reference add up."""
        self.left = min(max(self.left, 0.0), 1.0) + references
        self._granted = True
        self.wake()

    def wake(self) -> None:
        """Ends a wait."""
        self._woken.set()

    async def wait(self, stop: asyncio.Event) -> None:
        """Returns after the next look, or once it is woken since `stop` is set."""
        self._woken.clear()
        if not stop.is_set():
            await self._woken.wait()


class Pace:
    """The credits of the jobs that this producer publishes on the bulk lane."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.share = 1.0
        """This producer's part of the lane, where several publish."""
        self._servers = settings.kafka
        self._paced = settings.publish_ahead > 0
        self._ahead = Ahead(settings.publish_ahead, settings.publish_ahead_seconds)
        self._credits: dict[str, Credit] = {}
        self._joined = asyncio.Event()
        self._consumers = retry.Waiter("consumers")
        self._answered, self._since = -1, 0.0

    @contextlib.contextmanager
    def credit(self, spec: JobSpec) -> Iterator[Credit]:
        """A job's credit, while it is published."""
        if spec.lane is not Lane.BULK or not self._paced:
            yield Credit(spec.weight, math.inf)
            return
        credit = self._credits[spec.job] = Credit(spec.weight, 0.0)
        self._joined.set()
        try:
            yield credit
        finally:
            if self._credits.get(spec.job) is credit:
                del self._credits[spec.job]

    def wake(self) -> None:
        """Ends all waits."""
        for credit in self._credits.values():
            credit.wake()

    async def run(self) -> None:
        """Looks at Kafka's figures and grants credit, while there are jobs: for ever, until cancelled."""
        with self._consumers:
            async with contextlib.aclosing(figures(self._servers, Lane.BULK, self._pause)) as looks:
                async for look in looks:
                    self._grant(look)

    async def _pause(self) -> None:
        """Returns when it is time for the next look, which a job that comes new need not wait for."""
        if self._credits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._joined.wait()
        else:
            self._say(-1, 0, held=False)
            metrics.BACKLOG.labels(Lane.BULK).set(0)
            await self._joined.wait()
        self._joined.clear()
        for credit in self._credits.values():
            credit.begin_look()

    def _grant(self, look: Figures) -> None:
        answered = sum(part.offset + part.aside for part in look.answered.values())
        backlog = look.waiting() + sum(credit.unsettled for credit in self._credits.values())
        used_up = any(credit.used_up for credit in self._credits.values())
        most = self._ahead.update(time.monotonic(), answered, backlog, used_up)
        free = max(0.0, (most - backlog) * self.share)
        for job, part in divided(free, {job: credit.weight for job, credit in self._credits.items()}).items():
            self._credits[job].grant(part)
        metrics.BACKLOG.labels(Lane.BULK).set(backlog)
        metrics.BACKLOG_MOST.labels(Lane.BULK).set(most)
        self._say(answered, backlog, held=used_up and not free)

    def _say(self, answered: int, backlog: int, held: bool) -> None:
        """Says now and then that the consumers take nothing, and that they do again. Nothing is wrong meanwhile."""
        now = time.monotonic()
        if answered != self._answered or not held:
            if self._consumers.waits:
                log.get_logger().info("back", what="consumers", lane=Lane.BULK, backlog=backlog)
                self._consumers.set(False)
            self._answered, self._since = answered, now
        elif now - self._since >= _SAY_SECONDS:
            self._since = now
            self._consumers.set(True)
            log.get_logger().warning(
                "waiting", on="consumers", lane=Lane.BULK, backlog=backlog, jobs=len(self._credits)
            )
