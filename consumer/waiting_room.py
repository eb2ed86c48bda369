"""Where images wait for what is away, a host or a model, out of the way of all others."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from consumer.hosts import Verdict
from consumer.work import Task
from trapstream.core import log, metrics
from trapstream.core.errors import Permanent, Reason
from trapstream.core.messages import Lane

MOST = 10_000
"""Images of a lane that wait. With more the lane stops until there is room; the other lane goes on."""
_LOOK_SECONDS = 0.5
_SAY_SECONDS = 10.0
_UNKNOWN = Permanent(Reason.UNREACHABLE)


class Away(Protocol):
    """What is known of those that are waited for, each by its key. The hosts and the models are such."""

    def verdict(self, key: str, first: float, held: float, now: float) -> Verdict:
        """What to do with an image that was first put off at `first`, and last at `held`."""

    def is_away(self, key: str) -> bool:
        """Whether it is away, given up or not."""

    def is_given_up(self, key: str, now: float) -> bool:
        """Whether it is away for longer than there is patience."""

    def away(self) -> dict[str, float]:
        """Those that are away, and since when."""

    def why(self, key: str) -> str:
        """What it did last instead of answering."""

    def failure(self, key: str) -> Permanent | None:
        """What an image fails with that has waited for too long."""


@dataclass(slots=True)
class _Held:
    task: Task
    failure: Permanent | None
    """Its own; None for one that was not tried."""
    since: float


class WaitingRoom:
    """Keeps tasks by what they wait for; `run` gives them back or fails them."""

    def __init__(
        self,
        kind: str,
        what: str,
        known: Away,
        key: Callable[[Task], str],
        again: Callable[[Task], Awaitable[None]],
        fail: Callable[[Task, Permanent], Awaitable[None]],
        unwanted: Callable[[Task], bool],
        changed: Callable[[], None],
    ) -> None:
        """`kind` names a key in the log, `what` all of them in log and metric. `again` takes a task to be fetched,
        `fail` one that failed; for an `unwanted` one nobody waits any more; `changed` hears that there may be room."""
        self._kind, self._what = kind, what
        self._known = known
        self._key = key
        self._again = again
        self._fail = fail
        self._unwanted = unwanted
        self._changed = changed
        self._held: dict[Lane, dict[str, deque[_Held]]] = {lane: {} for lane in Lane}
        self._count: Counter[Lane] = Counter()
        self._said: dict[str, float] = {}

    def is_full(self, lane: Lane) -> bool:
        """Whether the lane should bring no more images."""
        return self._count[lane] >= MOST

    def count(self, key: str) -> int:
        """Images that wait for this one."""
        return sum(len(held.get(key, ())) for held in self._held.values())

    def hold(self, task: Task, failure: Permanent | None = None) -> None:
        """Takes a task in. `failure` is what it failed with, if it was tried."""
        now = time.monotonic()
        if task.times.put_off is None:
            task.times.put_off = now
        waiting = self._held[task.lane].setdefault(self._key(task), deque())
        if failure is None:
            waiting.appendleft(_Held(task, failure, now))  # it is tried next: those that failed may be bad themselves
        else:
            waiting.append(_Held(task, failure, now))
        self._count[task.lane] += 1
        task.hold(1)

    async def run(self) -> None:
        """Looks after the tasks until cancelled: of each lane by itself, since those that go on may have to wait."""
        async with asyncio.TaskGroup() as lanes:
            for held in self._held.values():
                lanes.create_task(self._let_go(held))
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                self._say(time.monotonic())

    async def _let_go(self, held: dict[str, deque[_Held]]) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for key in list(held):
                await self._look(key, held[key])
                if not held[key]:
                    del held[key]

    async def _look(self, key: str, waiting: deque[_Held]) -> None:
        for _ in range(len(waiting)):
            held, now = waiting.popleft(), time.monotonic()
            task, verdict = held.task, self._verdict(key, held, now)
            if verdict is Verdict.WAIT:
                waiting.append(held)  # behind the others: not always the same one is tried
                continue
            self._count[task.lane] -= 1
            task.hold(-1)
            self._changed()
            if not task.wanted():
                continue
            if self._unwanted(task):
                task.done()
            elif verdict is Verdict.FAIL:
                await self._fail(task, held.failure or self._known.failure(key) or _UNKNOWN)
            else:
                await self._again(task)
                if self._known.is_away(key):
                    return  # one at a time

    def _verdict(self, key: str, held: _Held, now: float) -> Verdict:
        if not held.task.wanted() or self._unwanted(held.task):
            return Verdict.TRY
        return self._known.verdict(key, held.task.times.put_off or held.since, held.since, now)

    def _say(self, now: float) -> None:
        away = {key: since for key, since in self._known.away().items() if self.count(key)}
        for key in [key for key in self._said if key not in away]:
            del self._said[key]
            event = "given up" if self._known.is_given_up(key, now) else "back"
            log.get_logger().info(event, what=self._what, **{self._kind: key})
        for key, since in away.items():
            if now - self._said.get(key, -_SAY_SECONDS) >= _SAY_SECONDS:
                self._said[key] = now
                log.get_logger().warning(
                    "waiting", on=self._what, **{self._kind: key}, error=self._known.why(key),
                    images=self.count(key), seconds=round(now - since),
                )  # fmt: skip
        metrics.WAITING.labels(self._what).set(1 if away else 0)
