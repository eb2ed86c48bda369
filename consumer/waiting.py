"""Where images wait for what is away, a host or a model, out of the way of all others."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer.away import Away, Decision, MissingModel, MissingModels
from consumer.detect import Detector, ModelAwayError
from consumer.work import Task
from trapstream.core import log, metrics
from trapstream.core.errors import Permanent, Reason, Retryable
from trapstream.core.jobs import EndedJobs
from trapstream.core.messages import Lane, ModelInfo
from trapstream.core.retry import Waiter

MOST = 10_000
"""Images of a lane that wait. With more the lane stops until some have left; the other lane goes on."""
_LOOK_SECONDS = 0.5
_SAY_SECONDS = 10.0
_UNKNOWN = Permanent(Reason.UNREACHABLE)


class _Held(NamedTuple):
    task: Task
    failure: Permanent | None
    """Its own; None for one that was not tried."""
    since: float


@dataclass(eq=False, kw_only=True)
class WaitingRoom:
    """Keeps tasks by what they wait for; `run` gives them back or fails them."""

    kind: str
    """What a key is called in the log: `host` or `model`."""
    what: str
    """All of them, in log and metric."""
    known: Away
    key: Callable[[Task], str]
    again: Callable[[Task], Awaitable[None]]
    """Takes a task to be fetched."""
    fail: Callable[[Task, Permanent], Awaitable[None]]
    unwanted: Callable[[Task], bool] = lambda task: task.cancelled()
    """Whether nobody waits for the task any more."""
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    _held: dict[Lane, dict[str, deque[_Held]]] = field(default_factory=lambda: {lane: {} for lane in Lane})
    _count: Counter[Lane] = field(default_factory=Counter)
    _said: dict[str, float] = field(default_factory=dict)

    def is_full(self, lane: Lane) -> bool:
        """Whether the lane should bring no more images."""
        return self._count[lane] >= MOST

    async def departure(self) -> None:
        """Returns once an image of either lane has left the room."""
        self._left.clear()
        await self._left.wait()

    def count(self, key: str) -> int:
        """Images that wait for this one."""
        return sum(len(held.get(key, ())) for held in self._held.values())

    def hold(self, task: Task, failure: Permanent | None = None) -> None:
        """Takes a task in. `failure` is what it failed with, if it was tried."""
        now = time.monotonic()
        if task.times.put_off is None:
            task.times.put_off = now
        waiting = self._held[task.lane].setdefault(self.key(task), deque())
        if failure is None:
            waiting.appendleft(_Held(task, failure, now))  # it is tried next: those that failed may be bad themselves
        else:
            waiting.append(_Held(task, failure, now))
        self._count[task.lane] += 1
        task.hold(1)

    async def run(self) -> None:
        """Looks after the tasks until cancelled: of each lane by itself, since those that go on may have to wait."""
        with Waiter(self.what) as waiter:
            async with asyncio.TaskGroup() as lanes:
                for held in self._held.values():
                    lanes.create_task(self._look_after(held))
                while True:
                    await asyncio.sleep(_LOOK_SECONDS)
                    waiter.set(self._say(time.monotonic()))

    async def _look_after(self, held: dict[str, deque[_Held]]) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for key in list(held):
                await self._look(key, held[key])
                if not held[key]:
                    del held[key]

    async def _look(self, key: str, waiting: deque[_Held]) -> None:
        for _ in range(len(waiting)):
            held, now = waiting.popleft(), time.monotonic()
            task = held.task
            dropped = not task.wanted() or self.unwanted(task)
            decision = self.known.decision(key, task.times.put_off or held.since, held.since, now)
            if decision is Decision.WAIT and not dropped:
                waiting.append(held)  # behind the others: not always the same one is tried
                continue
            self._count[task.lane] -= 1
            task.hold(-1)
            self._left.set()
            if dropped:
                if task.wanted():
                    task.done()
            elif decision is Decision.FAIL:
                await self.fail(task, held.failure or self.known.failure(key) or _UNKNOWN)
            else:
                await self.again(task)
                if self.known.absence(key, now) is not None:
                    return  # one at a time

    def _say(self, now: float) -> bool:
        """Says now and then what is waited for, and what is back or given up. Whether anything is waited for."""
        waited_for = {key for held in self._held.values() for key, waiting in held.items() if waiting}
        away = {key: found for key in waited_for if (found := self.known.absence(key, now)) is not None}
        for key in self._said.keys() - away.keys():
            del self._said[key]
            absence = self.known.absence(key, now)
            event = "given up" if absence is not None and absence.given_up else "back"
            log.get_logger().info(event, what=self.what, **{self.kind: key})
        for key, absence in away.items():
            if now - self._said.get(key, -_SAY_SECONDS) >= _SAY_SECONDS:
                self._said[key] = now
                log.get_logger().warning(
                    "waiting", on=self.what, **{self.kind: key}, error=absence.why,
                    images=self.count(key), seconds=round(now - absence.since),
                )  # fmt: skip
        return bool(away)


class ModelRoom:
    """The waiting room of images whose model is not served, or not well; and who asks whether it is there again."""

    def __init__(
        self,
        detector: Detector,
        ended: EndedJobs,
        again: Callable[[Task], Awaitable[None]],
        fail: Callable[[Task, Permanent], Awaitable[None]],
    ) -> None:
        """`again` and `fail` as in the waiting room."""
        self._detector = detector
        self._ended = ended
        self._again = again
        self._missing = MissingModels()
        self._any = asyncio.Event()
        self.images: dict[str, int] = {}
        """How many images wait for each model that is missing, by its label; also told with the health."""
        self.errors: dict[str, str] = {}
        """What those of them answer that are loaded and not well; told there too."""
        self._asked: set[str] = set()
        self.room = WaitingRoom(
            kind="model", what="model", known=self._missing, key=lambda task: task.spec.model.label,
            again=self._fetch_again, fail=fail,
            # A reference that comes a second time may be of a job that ended, and whose model is gone for good.
            unwanted=lambda task: task.cancelled() or task.ref.job in ended.jobs,
        )  # fmt: skip

    def is_away(self, model: ModelInfo) -> bool:
        """Whether the server was last heard to say that it does not serve the model, or that it is not well."""
        return model.label in self._missing

    def hold(self, tasks: Iterable[Task], why: ModelAwayError | None = None) -> None:
        """Takes in tasks whose model is away. `why` is what the server said, where it was asked just now."""
        for task in tasks:
            if why is not None:
                self._missing.missing(task.spec.model, str(why), time.monotonic(), why.blank)
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
                await asyncio.sleep(_LOOK_SECONDS)
                for known in list(self._missing.values()):
                    if known.model.label not in self._asked:  # one that takes long to answer holds up no other
                        self._asked.add(known.model.label)
                        asking.create_task(self._look(known))

    async def _look(self, known: MissingModel) -> None:
        label = known.model.label
        images = self.room.count(label)
        if not images or await self._is_well(known):
            self._missing.pop(label, None)
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

    async def _is_well(self, known: MissingModel) -> bool:
        try:
            return await self._detector.serves(known.model, known.blank)
        except Retryable:
            return False  # the server is away, which `Detector.watch` says

    async def _fetch_again(self, task: Task) -> None:
        task.times.put_off = None  # its host may be away next, and the time here is not the host's
        await self._again(task)
