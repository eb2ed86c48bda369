"""The room of images whose model is not served: bounded, and nobody stays who need not."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest

from consumer import waiting
from consumer.away import MissingModels
from consumer.waiting import WaitingRoom
from consumer.work import Task
from tests.unit.values import MODEL, image_ref, job_spec
from tests.waiting import eventually
from trapstream.core.errors import Permanent
from trapstream.core.messages import Lane


class Around:
    """A room, and what comes out of it."""

    def __init__(self) -> None:
        self.missing = MissingModels()
        self.missing.missing(MODEL, "unknown model", 0.0)
        self.again: list[Task] = []
        self.done: list[int] = []
        self.cancelled: set[str] = set()
        self.held = 0
        self.blocked: Lane | None = None
        self.free = asyncio.Event()
        self.room = WaitingRoom(
            kind="model", what="model", known=self.missing, key=lambda task: task.spec.model.label,
            again=self._again, fail=self._fail, unwanted=lambda task: task.ref.job in self.cancelled,
        )  # fmt: skip

    async def _again(self, task: Task) -> None:
        if task.lane is self.blocked:
            await self.free.wait()
        self.again.append(task)

    async def _fail(self, task: Task, error: Permanent) -> None:
        pytest.fail(f"{task}: {error}")

    def _hold(self, change: int) -> None:
        self.held += change

    def task(self, seq: int, lane: Lane = Lane.BULK, job: str = "a") -> Task:
        spec = job_spec(job=job, model=MODEL)
        return Task(
            ref=image_ref(job=job, seq=seq), spec=spec, lane=lane, done=lambda: self.done.append(seq), hold=self._hold
        )

    async def empties(self) -> None:
        async def empty() -> bool:
            return self.room.count(MODEL.label) == 0

        await eventually("an empty room", empty)


@pytest.fixture
async def around() -> AsyncIterator[Around]:
    made = Around()
    running = asyncio.create_task(made.room.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_full_room_stops_its_own_lane_only(around: Around) -> None:
    """The limit holds for each lane; once the model is there all are given back, and there is room again."""
    for seq in range(waiting.MOST):
        assert not around.room.is_full(Lane.BULK)
        around.room.hold(around.task(seq))
    around.room.hold(around.task(0, Lane.LIVE))
    assert (around.room.is_full(Lane.BULK), around.room.is_full(Lane.LIVE)) == (True, False)
    assert around.held == waiting.MOST + 1
    del around.missing[MODEL.label]
    await around.empties()
    assert len(around.again) == waiting.MOST + 1
    assert (around.room.is_full(Lane.BULK), around.held, around.done) == (False, 0, [])


async def test_nobody_stays_who_need_not(around: Around) -> None:
    """While the model is away: references of another process are dropped, those of a cancelled job are done, the
    others stay."""
    others = dataclasses.replace(around.task(1), wanted=lambda: False)
    for task in (others, around.task(2, job="gone"), around.task(3)):
        around.room.hold(task)
    around.cancelled.add("gone")

    async def alone() -> bool:
        return around.room.count(MODEL.label) == 1

    await eventually("one that stays", alone)
    assert (around.done, around.again, around.held) == ([2], [], 1)


async def test_a_lane_does_not_wait_for_the_other_ones_return(around: Around) -> None:
    """Where those of one lane cannot go on yet, as fetch is busy with them, those of the other one do."""
    around.blocked = Lane.BULK
    for seq in range(3):
        around.room.hold(around.task(seq))
    around.room.hold(around.task(3, Lane.LIVE))
    del around.missing[MODEL.label]

    async def gone_on() -> bool:
        return [task.lane for task in around.again] == [Lane.LIVE]

    await eventually("the live image", gone_on)
    around.blocked = None
    around.free.set()
    await around.empties()
    assert len(around.again) == 4
