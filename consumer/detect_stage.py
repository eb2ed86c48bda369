"""The detect stage: groups of letterboxed images go to the detector, as many as keep it at work, and become answers."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumer.detect import Detector, ModelAwayError
from consumer.emit import answered
from consumer.fair_queue import FairQueue
from consumer.server_load import ServerLoad
from consumer.slabs import SlabPool
from consumer.waiting import ModelRoom
from consumer.work import Answer, Group
from trapstream.core import metrics
from trapstream.core.channel import Channel
from trapstream.core.messages import Lane


@dataclass(eq=False, kw_only=True)
class DetectStage:
    """Both lanes', whose turns come by the shares."""

    to_detect: FairQueue[Group]
    detector: Detector
    server_load: ServerLoad
    slabs: SlabPool
    models: ModelRoom
    """Where images wait for a model that is away."""
    to_emit: Mapping[Lane, Channel[Answer]]
    asked: Counter[tuple[Lane, str]] = field(default_factory=Counter)
    """Images at the detector, by lane and model."""

    async def run(self) -> None:
        """Sends what is decoded to the detector, as long as it fits there, until cancelled."""
        async with asyncio.TaskGroup() as asking:
            while True:
                lane, [group] = await self.to_detect.take(1, counts=lambda _: True, fits=self._fits)
                self.asked[lane, group.model.label] += len(group.tasks)
                asking.create_task(self._detect(lane, group))

    def _fits(self, lane: Lane, group: Group) -> bool:
        """Each lane by itself: a live image does not wait until there are fewer of the others."""
        asked = self.asked[lane, group.model.label]
        return asked == 0 or asked + len(group.tasks) <= self.server_load.depth(group.model).in_flight

    async def _detect(self, lane: Lane, group: Group) -> None:
        metrics.BATCH_IMAGES.observe(len(group.tasks))
        self.server_load.use(group.model)
        for task in group.tasks:
            task.times.end("queue")
        try:
            found = await self.detector.detect(group)
        except ModelAwayError as error:
            self.models.hold(group.tasks, error)
            return
        finally:
            self.asked[lane, group.model.label] -= len(group.tasks)
            self.to_detect.changed()
            self.slabs.release(group.slab)
        for task, letterbox, detections in zip(group.tasks, group.letterboxes, found, strict=True):
            task.times.end("detect")
            await self.to_emit[lane].send(answered(task, letterbox, detections))
