"""What a lane takes in, and what becomes of it: with waiting rooms and a fetcher that do as they are told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from consumer.fetch_stage import FetchStage
from consumer.work import Fetched, Task
from tests.unit.values import MODEL, image_ref, job_spec
from tests.waiting import eventually
from trapstream.core.channel import Channel
from trapstream.core.errors import Permanent, Reason
from trapstream.core.messages import Lane
from trapstream.core.meters import Meter
from trapstream.core.settings import ConsumerSettings

AWAY = msgspec.structs.replace(MODEL, name="away")


class Room:
    """A waiting room that is full while it is said to be."""

    def __init__(self) -> None:
        self.full, self.left = False, asyncio.Event()

    def is_full(self, _: Lane) -> bool:
        return self.full

    async def departure(self) -> None:
        await self.left.wait()


class Around:
    """A stage and all that it is given. The file `gone` is not there, `slow` takes too long to be read with others."""

    def __init__(self, home: Path) -> None:
        self.taken: Channel[Task] = Channel(100)
        self.room = Room()
        self.decoded: list[str] = []
        self.failed: list[str] = []
        self.done: list[str] = []
        self.alone: list[str] = []
        self.held: list[Task] = []
        models = SimpleNamespace(room=Room(), is_away=lambda model: model is AWAY, hold=self.held.extend)
        self.stage = FetchStage(
            lane=Lane.BULK, settings=ConsumerSettings(home=home, fetches=2, batch=4), taken=self.taken,
            fetcher=self, hosts=self.room, models=models, to_decode=self, fail=self._fail,  # type: ignore[arg-type]
            meter=Meter(2),
        )  # fmt: skip

    async def fetch_files(self, uris: list[str]) -> list[bytes | Permanent | None]:
        ends: dict[str, Permanent | None] = {"gone": Permanent(Reason.NOT_FOUND), "slow": None}
        return [ends.get(uri.rpartition("/")[2], b"bytes") for uri in uris]

    async def fetch(self, uri: str) -> bytes:
        self.alone.append(uri.rpartition("/")[2])
        return b"bytes"

    async def send(self, _: Lane, *fetched: Fetched) -> None:
        self.decoded += [one.task.ref.file for one in fetched]

    async def _fail(self, task: Task, _: Permanent) -> None:
        self.failed.append(task.ref.file)

    async def take(self, name: str, cancelled: bool = False, away: bool = False) -> None:
        await self.taken.send(
            Task(
                ref=image_ref(file=name, uri=f"file:///{name}"), spec=job_spec(model=AWAY if away else MODEL),
                lane=Lane.BULK, done=lambda: self.done.append(name), cancelled=lambda: cancelled,
            )
        )  # fmt: skip


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Around]:
    made = Around(tmp_path)
    running = asyncio.create_task(made.stage.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_each_reference_has_one_end(around: Around) -> None:
    """Read with others, fetched by itself where that is too slow, failed, dropped with its job, or waiting."""
    await around.take("cancelled", cancelled=True)
    await around.take("away", away=True)
    for name in ("a", "gone", "slow", "b"):
        await around.take(name)

    async def all_there() -> bool:
        return len(around.decoded + around.failed + around.done + around.held) == 6

    await eventually("an end of each", all_there)
    assert sorted(around.decoded) == ["a", "b", "slow"]
    assert (around.alone, around.failed, around.done) == (["slow"], ["gone"], ["cancelled"])
    assert [task.ref.file for task in around.held] == ["away"]


async def test_a_full_waiting_room_stops_the_intake(around: Around) -> None:
    """Nothing more is taken in until an image has left the room; then the lane goes on."""
    around.room.full = True
    for number in range(50):
        await around.take(str(number))

    async def held() -> bool:
        return around.taken.statistics().receivers_waiting == 0 and around.taken.statistics().used > 0

    await eventually("a lane that is held", held)
    taken = len(around.decoded)
    around.room.full = False
    around.room.left.set()

    async def all_there() -> bool:
        return len(around.decoded) == 50

    await eventually("all of them", all_there)
    assert taken <= 4, "what was asked for before the room was full"
