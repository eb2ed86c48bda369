"""Images whose model the server does not serve: they wait in a room of their own, and all others go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from consumer.absent import Absent
from consumer.detect import Detector
from consumer.waiting_room import WaitingRoom
from consumer.work import Task
from trapstream.core import metrics
from trapstream.core.ended import EndedJobs
from trapstream.core.errors import Permanent, Retryable
from trapstream.core.messages import ModelInfo

_ASK_SECONDS = 0.5


class MissingModels:
    """The room, and who asks whether a model is there again."""

    def __init__(
        self,
        detector: Detector,
        ended: EndedJobs,
        again: Callable[[Task], Awaitable[None]],
        fail: Callable[[Task, Permanent], Awaitable[None]],
        cancelled: Callable[[Task], bool],
        changed: Callable[[], None],
    ) -> None:
        """`again`, `fail` and `changed` as in the waiting room."""
        self._detector = detector
        self._ended = ended
        self._again = again
        self._absent = Absent()
        self._any = asyncio.Event()
        self.images: dict[str, int] = {}
        """How many images wait for each model that is not served, by its label; also told with the health."""
        self.room = WaitingRoom(
            "model", "model", self._absent, key=_label, again=self._let_go, fail=fail,
            # A reference that comes a second time may be of a job that ended, and whose model is gone for good.
            unwanted=lambda task: cancelled(task) or task.ref.job in ended.jobs,
            changed=changed,
        )  # fmt: skip

    def is_away(self, model: ModelInfo) -> bool:
        """Whether the server was last heard to say that it does not serve the model."""
        return self._absent.is_away(model.label)

    def hold(self, tasks: Iterable[Task], why: str | None = None) -> None:
        """Takes in tasks whose model is away. `why` is what the server said, where it was asked just now."""
        for task in tasks:
            if why is not None:
                self._absent.missing(task.spec.model, why, time.monotonic())
            self.room.hold(task)
        self._any.set()

    async def run(self) -> None:
        """Looks after the room until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.room.run())
            tasks.create_task(self._ask())
            await self._any.wait()  # most consumers never need to know which jobs have ended
            tasks.create_task(self._ended.run())

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            for model in self._absent.models():
                images = self.room.count(model.label)
                if not images or await self._is_served(model):
                    self._absent.back(model)
                    self.images.pop(model.label, None)
                    metrics.WAITING_FOR_MODEL.remove(model.label)
                else:
                    self.images[model.label] = images
                    metrics.WAITING_FOR_MODEL.labels(model.label).set(images)

    async def _is_served(self, model: ModelInfo) -> bool:
        try:
            return await self._detector.serves(model)
        except Retryable:
            return False  # the server is away, which `Detector.watch` says

    async def _let_go(self, task: Task) -> None:
        task.times.put_off = None  # its host may be away next, and the time here is not the host's
        await self._again(task)


def _label(task: Task) -> str:
    return task.spec.model.label
