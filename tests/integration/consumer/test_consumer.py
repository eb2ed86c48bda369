"""The consumer as a process, on a real Kafka and a real Triton."""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.acceptance.command import Command
from tests.integration import outages
from tests.integration.service import Service, service
from tests.stacks import RunningStack
from tests.unit.values import job_spec
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import ImageRef, ImageResult, JobSpec, Lane, ModelInfo, Outcome

MODEL = ModelInfo(
    name="picky", version="1", sha256="0" * 64, image_size=64, stride=32, classes={"1": "animal"},
    typical_threshold=0.2, conservative_threshold=0.1,
)  # fmt: skip


def _consumer(stack: RunningStack, home: Path, member: str = "consumer-0") -> AbstractContextManager[Service]:
    return service(
        "consumer", home, stack.kafka, member,
        triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{home.name}", commit_seconds="0.2",
    )  # fmt: skip


async def _publish(stack: RunningStack, spec: JobSpec, photo: Path, count: int, first: int = 0) -> None:
    producer = await kafka.start_producer(stack.kafka)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
    for seq in range(first, first + count):
        ref = ImageRef(job=spec.job, seq=seq, file=f"{seq}.png", uri=photo.as_uri())
        await producer.send(topics.lane_topic(spec.lane).name, messages.encode(ref))
    await producer.stop()


async def _all_of(stack: RunningStack, topic: topics.Topic) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        parts = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        found: list[bytes] = []
        while [part for part in parts if await consumer.position(part) < ends[part]]:
            for records in (await consumer.getmany(timeout_ms=300)).values():
                found += [record.value for record in records]
        return found
    finally:
        await consumer.stop()


async def _results(stack: RunningStack, job: str) -> list[ImageResult]:
    mine = f'"{job}"'.encode()  # others' messages on the shared broker may be unreadable on purpose
    decoded = [
        messages.decode(value, ImageResult) for value in await _all_of(stack, topics.DETECTIONS) if mine in value
    ]
    return [result for result in decoded if result.job == job]


async def _until_answered(stack: RunningStack, job: str, count: int) -> list[ImageResult]:
    async def answered() -> list[ImageResult]:
        found = await _results(stack, job)
        return found if len({result.seq for result in found}) >= count else []

    return await eventually(f"{count} answers", answered)


def _job(member: str, **changes: object) -> JobSpec:
    return job_spec(job=member, model=MODEL, **changes)


async def test_each_reference_is_answered_and_then_committed(
    stack: RunningStack, picky: str, photo: Path, member: str, tmp_path: Path
) -> None:
    """Every reference of both lanes is answered once; a consumer told to stop drains, commits and ends well."""
    await kafka.create_topics(stack.kafka)
    bulk, live = _job(member, images=60), _job(f"{member}-live", images=5, lane=Lane.LIVE)
    await _publish(stack, bulk, photo, 60)
    await _publish(stack, live, photo, 5)
    with _consumer(stack, tmp_path) as process:
        answers = await _until_answered(stack, bulk.job, 60)
        await _until_answered(stack, live.job, 5)
        assert process.stop() == 0, process.log
    assert sorted(result.seq for result in answers) == list(range(60))
    assert {result.outcome for result in answers} == {Outcome.EMPTY}
    assert msgspec.json.decode(answers[0].entry)["detections"] == []
    assert await outages.lag(stack.kafka, Lane.BULK) == await outages.lag(stack.kafka, Lane.LIVE) == 0


async def test_what_cannot_be_read_is_parked(
    stack: RunningStack, picky: str, photo: Path, member: str, tmp_path: Path
) -> None:
    """No JSON, an unknown version, too large, an unknown job: all are listed with their origin, and the stream goes on.

    One whose job is known by then is published again by the command, and answered; one that was cut is refused.
    """
    await kafka.create_topics(stack.kafka)
    producer = await kafka.start_producer(stack.kafka)
    stranger = messages.encode(ImageRef(job=f"{member}-unknown", seq=0, file="x", uri="file:///x"))
    large = stranger.replace(b'"x"', b'"' + b"x" * 600_000 + b'"')
    bad = [f"{member}: no JSON".encode(), stranger.replace(b'"v":1', b'"v":2'), large, stranger]
    places = [await producer.send_and_wait(topics.BULK.name, value, partition=3) for value in bad]
    await producer.stop()
    origins = [f"{topics.BULK.name}:3:{place.offset}" for place in places]
    command = Command(tmp_path / "command", dict(os.environ))
    await _publish(stack, _job(member), photo, 3)
    with _consumer(stack, tmp_path) as process:
        await _until_answered(stack, member, 3)

        async def parked() -> dict[str, dict[str, Any]]:
            listed = command("dead-letters", "--json", "--kafka", stack.kafka)
            letters = {letter["place"]: letter for letter in map(json.loads, listed.out.splitlines())}
            return letters if set(origins) <= letters.keys() else {}

        letters = await eventually("the dead letters", parked)
        reasons = [letters[origin]["reason"] for origin in origins]
        assert "malformed" in reasons[0]
        assert "$.v" in reasons[1]
        assert "too large: 6" in reasons[2]
        assert "no such job" in reasons[3]
        assert [letters[origin]["cut"] for origin in origins] == [False, False, True, False]
        assert letters[origins[0]]["beginning"] == f"{member}: no JSON"
        assert f"{origins[3]}  no such job" in command("dead-letters", "--kafka", stack.kafka).out

        await _publish(stack, _job(f"{member}-unknown"), photo, 0)
        again = command("dead-letters", "--again", origins[3], "--kafka", stack.kafka)
        assert (again.status, again.out) == (0, "")
        assert "images.bulk:3:" in again.err
        await _until_answered(stack, f"{member}-unknown", 1)
        refused = command("dead-letters", "--again", origins[2], "--kafka", stack.kafka)
        assert refused.status == 1
        assert "longer than" in refused.err
        assert command("dead-letters", "--again", "images.bulk:3:999999", "--kafka", stack.kafka).status == 1
        assert process.stop() == 0


async def test_a_killed_consumer_loses_nothing(
    stack: RunningStack, picky: str, photo: Path, member: str, tmp_path: Path
) -> None:
    """kill -9 in mid-job, then a new start as the same member: every reference is answered at least once."""
    await kafka.create_topics(stack.kafka)
    await _publish(stack, _job(member), photo, 800)
    with _consumer(stack, tmp_path) as process:
        await _until_answered(stack, member, 50)
        process.kill()
        process.start()
        answers = await _until_answered(stack, member, 800)
        assert process.stop() == 0  # what it did is committed: later tests on this broker must not get it again
    assert {result.seq for result in answers} == set(range(800))


async def test_members_come_and_go(stack: RunningStack, picky: str, photo: Path, member: str, tmp_path: Path) -> None:
    """A second consumer joins in mid-job and the first one leaves: nothing is lost and next to nothing done twice."""
    await kafka.create_topics(stack.kafka)
    spec = _job(member)
    await _publish(stack, spec, photo, 1_000)
    first: Service
    with _consumer(stack, tmp_path) as first:
        await _until_answered(stack, member, 30)
        with _consumer(stack, tmp_path, "consumer-1") as second:
            await eventually("the second one's share", lambda: _assigned(second))
            await _publish(stack, spec, photo, 1_000, first=1_000)
            await _until_answered(stack, member, 1_100)
            assert first.stop() == 0, first.log
            answers = await _until_answered(stack, member, 2_000)
            assert second.stop() == 0, second.log
    assert {result.seq for result in answers} == set(range(2_000))
    assert len(answers) - 2_000 <= 20


async def _assigned(process: Service) -> bool:
    return "partitions assigned" in process.log


async def test_a_cancelled_job_is_skipped(
    stack: RunningStack, picky: str, photo: Path, member: str, tmp_path: Path
) -> None:
    """References of a cancelled job are passed over and committed; those of another job are answered."""
    await kafka.create_topics(stack.kafka)
    await _publish(stack, _job(f"{member}-gone", cancelled=True), photo, 40)
    await _publish(stack, _job(member), photo, 5)
    with _consumer(stack, tmp_path) as process:
        await _until_answered(stack, member, 5)
        assert process.stop() == 0
    assert await _results(stack, f"{member}-gone") == []
    assert await outages.lag(stack.kafka, Lane.BULK) == 0
