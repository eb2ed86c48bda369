"""Images whose model is not served, or not well: they wait in a room of their own, and all others go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from consumer.absent import Absent, Missing
from consumer.detect import Detector, ModelAwayError, ModelSickError
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
        """How many images wait for each model that is missing, by its label; also told with the health."""
        self.errors: dict[str, str] = {}
        """What those of them answer that are loaded and not well; told there too."""
        self._asked: set[str] = set()
        self.room = WaitingRoom(
            "model", "model", self._absent, key=_label, again=self._let_go, fail=fail,
            # A reference that comes a second time may be of a job that ended, and whose model is gone for good.
            unwanted=lambda task: cancelled(task) or task.ref.job in ended.jobs,
            changed=changed,
        )  # fmt: skip

    def is_away(self, model: ModelInfo) -> bool:
        """Whether the server was last heard to say that it does not serve the model, or that it is not well."""
        return self._absent.is_away(model.label)

    def hold(self, tasks: Iterable[Task], why: ModelAwayError | None = None) -> None:
        """Takes in tasks whose model is away. `why` is what the server said, where it was asked just now."""
        blank = why.shape if isinstance(why, ModelSickError) else None
        for task in tasks:
            if why is not None:
                self._absent.missing(task.spec.model, str(why), time.monotonic(), blank)
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
        async with asyncio.TaskGroup() as asking:
            while True:
                await asyncio.sleep(_ASK_SECONDS)
                for known in self._absent.models():
                    if known.model.label not in self._asked:  # one that takes long to answer holds up no other
                        self._asked.add(known.model.label)
                        asking.create_task(self._look(known))

    async def _look(self, known: Missing) -> None:
        label = known.model.label
        images = self.room.count(label)
        if not images or await self._is_well(known):
            self._absent.back(known.model)
            self.images.pop(label, None)
            self.errors.pop(label, None)
            metrics.WAITING_FOR_MODEL.remove(label)
        else:
            self.images[label] = images
            if known.blank is None:
                self.errors.pop(label, None)
            else:
                self.errors[label] = known.why
            metrics.WAITING_FOR_MODEL.labels(label).set(images)
        self._asked.discard(label)

    async def _is_well(self, known: Missing) -> bool:
        try:
            return await self._detector.serves(known.model, known.blank)
        except Retryable:
            return False  # the server is away, which `Detector.watch` says

    async def _let_go(self, task: Task) -> None:
        task.times.put_off = None  # its host may be away next, and the time here is not the host's
        await self._again(task)


def _label(task: Task) -> str:
    return task.spec.model.label
