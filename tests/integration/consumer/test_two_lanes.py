"""Both lanes through one consumer, at a model that takes its time: whose answers come first is counted, not timed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import tritonclient.grpc.aio as triton

from bench import timed
from consumer.detect import Detector
from consumer.slabs import Slab
from consumer.work import Group, Task
from tests import images
from tests.integration.outages import publish
from tests.integration.producer.helpers import clean_lanes
from tests.integration.service import service
from tests.losing import lose
from tests.stacks import RunningStack
from tests.unit.values import image_ref, job_spec
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import ImageResult, JobSpec, Lane, ModelInfo
from trapstream.images.letterbox import letterbox


class Answer(NamedTuple):
    """One result, as it stands in the log."""

    at: int
    """Milliseconds since 1970."""
    job: str
    result: ImageResult


class Lanes:
    """A job on each lane, and the answers as they come."""

    def __init__(self, servers: str, model: ModelInfo, member: str, photo: str) -> None:
        self._servers, self._photo = servers, photo
        self.specs: dict[Lane, JobSpec] = {
            lane: job_spec(job=f"{member}-{lane}", lane=lane, model=model, images=10_000, total=10_000) for lane in Lane
        }
        self._jobs = {spec.job.encode() for spec in self.specs.values()}
        self.answers: list[Answer] = []

    async def publish(self, lane: Lane, count: int) -> None:
        """Sends so many references; returns once they are acknowledged."""
        await publish(self._servers, self.specs[lane], [self._photo] * count)

    async def follow(self) -> None:
        """Reads for ever."""
        async for records in kafka.follow(self._servers, topics.DETECTIONS):
            for record in records:
                if record.key in self._jobs:
                    result = messages.decode(record.value, ImageResult)
                    self.answers.append(Answer(record.timestamp, result.job, result))

    def of(self, lane: Lane) -> list[Answer]:
        """The lane's answers."""
        return [answer for answer in self.answers if answer.job == self.specs[lane].job]

    async def until(self, enough: Callable[[], bool]) -> None:
        """Waits until the answers are."""

        async def look() -> bool:
            return enough()

        await eventually("the answers", look, pause=0.02)

    async def cancel(self) -> None:
        """Ends both jobs: what is left of them must not hold the consumer's stop up."""
        producer = await kafka.start_producer(self._servers)
        for spec in self.specs.values():
            cancelled = job_spec(job=spec.job, lane=spec.lane, model=spec.model, cancelled=True)
            await producer.send_and_wait(topics.JOBS.name, messages.encode(cancelled), spec.job.encode())
        await producer.stop()


@contextlib.asynccontextmanager
async def slow_model(stack: RunningStack, seconds: float) -> AsyncIterator[ModelInfo]:
    """A model that takes so long for an image, in the Triton that all tests share."""
    info = timed.write_entry(stack.home / "triton" / "repository", f"slow-{seconds:g}", seconds)
    client = triton.InferenceServerClient(stack.triton)
    await client.load_model(timed.entry_of(info))
    yield info
    await client.unload_model(timed.entry_of(info))
    await client.close()


@contextlib.asynccontextmanager
async def two_lanes(
    stack: RunningStack, home: Path, member: str, seconds: float, first: dict[Lane, int]
) -> AsyncIterator[Lanes]:
    """A consumer at work on what is published `first`."""
    photo = home / "photo.png"
    photo.write_bytes(images.encode(images.scene(64, 48), "PNG"))
    await kafka.create_topics(stack.kafka)
    await lose(stack.kafka)
    async with (
        clean_lanes(stack.kafka),
        slow_model(stack, seconds) as model,
        asyncio.TaskGroup() as tasks,
    ):
        lanes = Lanes(stack.kafka, model, member, photo.as_uri())
        following = tasks.create_task(lanes.follow())
        for lane, count in first.items():
            await lanes.publish(lane, count)
        with service(
            "consumer", home / "home", stack.kafka, "consumer-0",
            triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}", commit_seconds="0.2",
        ) as process:  # fmt: skip
            yield lanes
            await lanes.cancel()
            assert process.stop() == 0, process.log
        following.cancel()


async def test_a_live_image_overtakes_a_full_backlog(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """Live images behind 600 others are answered after a few of them: those that the server had already."""
    async with two_lanes(stack, tmp_path, member, 0.04, {Lane.BULK: 600}) as lanes:
        await lanes.until(lambda: len(lanes.answers) >= 24)
        came = max(answer.at for answer in lanes.answers)
        await lanes.publish(Lane.LIVE, 3)
        await lanes.until(lambda: len(lanes.of(Lane.LIVE)) == 3)
    live = lanes.of(Lane.LIVE)
    before = [answer for answer in lanes.of(Lane.BULK) if came < answer.at <= max(each.at for each in live)]
    assert len(before) <= 150  # 6 s of the model: the way of three images on a busy machine
    assert len(lanes.of(Lane.BULK)) < 300
    for answer in live:
        ms = answer.result.ms
        assert min(ms.wait, ms.fetch, ms.queue, ms.decode, ms.detect) > 0


async def test_a_flood_of_live_images_leaves_bulk_its_share(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """While both lanes have more than can be done, one answer in five is of the bulk lane."""
    async with two_lanes(stack, tmp_path, member, 0.008, {Lane.LIVE: 800, Lane.BULK: 400}) as lanes:
        await lanes.until(lambda: len(lanes.answers) >= 500)
    both = sorted(lanes.answers, key=lambda answer: answer.at)[100:500]
    bulk = sum(answer.job == lanes.specs[Lane.BULK].job for answer in both)
    assert abs(bulk / len(both) - 0.2) <= 0.05


async def test_a_live_image_goes_before_what_other_consumers_have_at_the_server(
    stack: RunningStack, member: str
) -> None:
    """Of many requests that wait in the server a live one is answered before most, whoever sent them."""
    async with slow_model(stack, 0.05) as model, Detector(stack.triton, None) as detector:
        ended: list[Lane] = []

        async def ask(lane: Lane) -> None:
            slab = Slab(None)
            slab.hold(4 * 64 * 64 * 3)
            spec, box = job_spec(job=member, model=model), letterbox(64, 64, 64, 32)
            tasks = tuple(Task(ref=image_ref(seq), spec=spec, lane=lane, done=lambda: None) for seq in range(4))
            await detector.detect(Group(slab=slab, offset=0, shape=(64, 64, 3), tasks=tasks, letterboxes=(box,) * 4))
            ended.append(lane)

        async with asyncio.TaskGroup() as asking:
            for _ in range(24):
                asking.create_task(ask(Lane.BULK))

            async def begun() -> bool:
                return bool(ended)

            await eventually("the first answer", begun, pause=0.01)
            asking.create_task(ask(Lane.LIVE))
    assert ended.index(Lane.LIVE) < 20
