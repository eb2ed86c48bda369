"""The intake between two assignments, with a client that only hands over what it is told."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from consumer.intake import Intake
from tests.unit.values import image_ref, job_spec
from trapstream.core import messages, topics
from trapstream.core.jobs import JobTable
from trapstream.core.messages import Lane
from trapstream.core.settings import ConsumerSettings

PART = TopicPartition(topics.BULK.name, 3)


def _record(offset: int) -> Any:
    value = messages.encode(image_ref(offset))
    return SimpleNamespace(topic=PART.topic, partition=PART.partition, offset=offset, timestamp=0, value=value)


class Client:
    """Each answer to `getmany` is what a function of the list gives, called while the poll is under way."""

    def __init__(self, stop: asyncio.Event, *answers: Any) -> None:
        self._stop, self._answers = stop, list(answers)

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Any]]:
        if not self._answers:
            self._stop.set()
            return {}
        return {PART: await self._answers.pop(0)()}

    async def commit(self, _: object) -> None:
        """Kafka takes it."""

    async def stop(self) -> None:
        """Nothing was started."""


async def _taken(intake: Intake, stop: asyncio.Event) -> list[int]:
    polling = asyncio.create_task(intake.run(stop))
    seqs = []
    while not (polling.done() and not intake.channel.statistics().used):
        receiving = asyncio.create_task(intake.channel.receive())
        await asyncio.wait({receiving, polling}, return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            seqs.append(receiving.result().ref.seq)
        else:
            receiving.cancel()
    polling.result()
    return seqs


def _intake(client: Client, tmp_path: Path) -> Intake:
    jobs = JobTable("127.0.0.1:1")
    jobs.specs["job-1"] = job_spec()
    intake = Intake(Lane.BULK, ConsumerSettings(home=tmp_path), jobs, None)  # type: ignore[arg-type, unused-ignore]
    intake.consumer = client  # type: ignore[assignment, unused-ignore]
    return intake


async def test_a_poll_that_outlasts_a_rebalance_loses_nothing(tmp_path: Path) -> None:
    """What a poll hands over was read for the newest assignment, also where that came while the poll was under way."""

    async def rebalance() -> list[Any]:
        await intake.on_partitions_revoked({PART})
        await intake.on_partitions_assigned({PART})
        return [_record(offset) for offset in range(5)]

    async def more() -> list[Any]:
        return [_record(5)]

    stop = asyncio.Event()
    intake = _intake(Client(stop, rebalance, more), tmp_path)
    await intake.on_partitions_assigned({PART})
    assert await _taken(intake, stop) == [0, 1, 2, 3, 4, 5]


async def test_a_drain_does_not_wait_for_what_another_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References of a partition that went elsewhere hold up no stop, although they are never done here."""

    async def records() -> list[Any]:
        return [_record(offset) for offset in range(3)]

    stop = asyncio.Event()
    intake = _intake(Client(stop, records), tmp_path)
    await intake.on_partitions_assigned({PART})
    assert await _taken(intake, stop) == [0, 1, 2]
    closing = asyncio.create_task(intake.close())
    await asyncio.sleep(0)
    assert not closing.done()
    await intake.on_partitions_assigned(set())
    async with asyncio.timeout(5):
        await closing
