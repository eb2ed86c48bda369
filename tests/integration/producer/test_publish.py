"""The producer as a process on the real Kafka: complete, in turns, killed, cancelled, lied to."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from msgspec.structs import replace

from producer import cursor
from tests.integration.producer.helpers import (
    clean_lanes,
    make_job,
    published,
    sealed,
    spec_when,
)
from tests.integration.service import Service, service
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.result_store import manifest_path, read_manifest
from trapstream.jobs import submit
from trapstream.jobs.stored_manifest import SubmitError

IN_FLIGHT = 8_000
CHUNK = 1_000


@pytest.fixture
async def servers(stack: RunningStack) -> AsyncIterator[str]:
    async with clean_lanes(stack.kafka):
        yield stack.kafka


@pytest.fixture
def producer(stack: RunningStack, tmp_path: Path) -> Iterator[Service]:
    with a_producer(stack.kafka, tmp_path, "0") as process:
        yield process


def a_producer(servers: str, home: Path, member: str) -> AbstractContextManager[Service]:
    """One that is yet to be started. The same member is back in its group at once."""
    return service("producer", home, servers, member, start=False, publish_ahead="0")


def cursor_of(home: Path, spec: JobSpec) -> Path:
    return cursor.cursor_path(home / "producer", spec.job)


async def midway(home: Path, spec: JobSpec, after: int = 0) -> int:
    """How many references the cursor knows, once these are more than `after` and not all."""

    async def look() -> int | None:
        seq = cursor.read(cursor_of(home, spec), spec.manifest_sha256).seq
        return seq if seq > after else None

    seq = await eventually("a cursor midway", look, pause=0.005)
    assert seq < spec.images, "the job is too small to be caught midway"
    return seq


@pytest.mark.parametrize("lane", list(Lane))
async def test_every_reference_once_in_order_and_spread(
    servers: str, tmp_path: Path, producer: Service, lane: Lane
) -> None:
    """A job is sealed when all of its manifest stands in its lane: once, in order, evenly on the partitions."""
    producer.start()
    spec = await make_job(servers, tmp_path, 4_321, lane)
    assert (await spec_when(servers, spec.job, sealed)) == replace(spec, total=4_321)
    found = await published(servers, spec.job, lane)
    lines = list(read_manifest(manifest_path(tmp_path / "results", spec.job)))
    assert sorted(each.ref.seq for each in found) == list(range(4_321))
    assert all((each.ref.file, each.ref.uri) == (lines[each.ref.seq].file, lines[each.ref.seq].uri) for each in found)
    for number in range(topics.lane_topic(lane).partitions):
        order = [each.ref.seq for each in found if each.partition == number]
        assert order == sorted(order)
    sizes = Counter(each.partition for each in found).values()
    assert len(sizes) == topics.lane_topic(lane).partitions and max(sizes) - min(sizes) <= 1


async def test_killed_midway_it_goes_on_at_its_cursor(servers: str, tmp_path: Path, producer: Service) -> None:
    """kill -9, twice: nothing is missing, and only what came since the cursor is there again."""
    spec = await make_job(servers, tmp_path, 100_000)
    at = 0
    for _ in range(2):
        producer.start()
        at = await midway(tmp_path, spec, after=at)
        producer.kill()
    producer.start()
    assert (await spec_when(servers, spec.job, sealed)).total == 100_000
    seqs = [each.ref.seq for each in await published(servers, spec.job)]
    assert set(seqs) == set(range(100_000))
    assert len(seqs) - 100_000 <= 2 * (CHUNK + IN_FLIGHT)
    assert not cursor_of(tmp_path, spec).exists()


async def test_stopped_midway_it_repeats_nothing(servers: str, tmp_path: Path, producer: Service) -> None:
    """A stop drains what is in flight and writes the cursor: the next start goes on exactly there."""
    spec = await make_job(servers, tmp_path, 100_000)
    producer.start()
    await midway(tmp_path, spec)
    assert producer.stop() == 0
    at = cursor.read(cursor_of(tmp_path, spec), spec.manifest_sha256).seq
    assert 0 < at < 100_000 and len(await published(servers, spec.job)) == at
    producer.start()
    await spec_when(servers, spec.job, sealed)
    assert len(await published(servers, spec.job)) == 100_000


async def test_a_sealed_job_is_not_published_again(servers: str, tmp_path: Path, producer: Service) -> None:
    """A start reads the jobs to their end first; a cursor that a death left behind goes."""
    producer.start()
    spec = await make_job(servers, tmp_path, 500)
    await spec_when(servers, spec.job, sealed)
    producer.kill()
    cursor.write(cursor_of(tmp_path, spec), cursor.Cursor(spec.manifest_sha256))
    producer.start()
    after = await make_job(servers, tmp_path, 10)
    await spec_when(servers, after.job, sealed)
    assert len(await published(servers, spec.job)) == 500
    assert not cursor_of(tmp_path, spec).exists()


async def test_a_cancelled_job_stops(servers: str, tmp_path: Path, producer: Service) -> None:
    """What was not sent when the word comes stays unsent, and the job is never sealed."""
    spec = await make_job(servers, tmp_path, 100_000)
    producer.start()
    await midway(tmp_path, spec)
    producer.send(signal.SIGSTOP)
    assert (await submit.cancel(servers, spec.job)).cancelled
    before = len(await published(servers, spec.job))
    producer.send(signal.SIGCONT)
    after = await make_job(servers, tmp_path, 10)
    await spec_when(servers, after.job, sealed)
    assert len(await published(servers, spec.job)) <= before + 2 * IN_FLIGHT < 100_000
    ended = await spec_when(servers, spec.job, lambda _: True)
    assert (ended.cancelled, ended.total) == (True, None)


async def test_who_writes_last_takes_nothing_back(servers: str, tmp_path: Path, producer: Service) -> None:
    """A cancellation that an older spec overwrote is written again; so is a seal."""
    spec = await make_job(servers, tmp_path, 300)
    producer.start()
    await spec_when(servers, spec.job, sealed)
    client = await kafka.start_producer(servers)
    for each in (replace(spec, cancelled=True), spec):
        await client.send_and_wait(topics.JOBS.name, messages.encode(each), key=spec.job.encode())
    await client.stop()
    both = await spec_when(servers, spec.job, lambda spec: spec.cancelled and sealed(spec))
    assert both == replace(spec, cancelled=True, total=300)


async def test_a_damaged_manifest_fails_the_job(servers: str, tmp_path: Path, producer: Service) -> None:
    """One changed byte, or no manifest at all: nothing is published, and the job says why in one line."""
    damaged, missing = [await make_job(servers, tmp_path, images) for images in (100, 50)]
    path = manifest_path(tmp_path / "results", damaged.job)
    path.write_bytes(path.read_bytes().replace(b"cam", b"can", 1))
    manifest_path(tmp_path / "results", missing.job).unlink()
    producer.start()
    for spec, expected in ((damaged, "is damaged"), (missing, "is missing")):
        failed = (await spec_when(servers, spec.job, lambda spec: spec.failed is not None)).failed
        assert failed is not None and expected in failed and "\n" not in failed
        assert await published(servers, spec.job) == []
        with pytest.raises(SubmitError, match="has failed already"):
            await submit.cancel(servers, spec.job)


async def test_jobs_take_turns(servers: str, tmp_path: Path, producer: Service) -> None:
    """A small job that came after a large one does not wait for it."""
    large, small = [await make_job(servers, tmp_path, images) for images in (60_000, 2_500)]
    producer.start()
    for spec in (large, small):
        await spec_when(servers, spec.job, sealed)
    ends = {each.partition: each.offset for each in await published(servers, small.job)}
    ahead = [each for each in await published(servers, large.job) if each.offset < ends[each.partition]]
    assert len(ahead) < 30_000


async def test_a_job_that_is_not_there_cannot_be_cancelled(servers: str) -> None:
    """The message names it and says how to find the right one."""
    with pytest.raises(SubmitError, match="there is no job nobody-1"):
        await submit.cancel(servers, "nobody-1")


async def test_producers_share_the_jobs_and_take_over(servers: str, tmp_path: Path, producer: Service) -> None:
    """With one of two killed for good in the midst of its jobs, all jobs are sealed and no image is missing."""
    with a_producer(servers, tmp_path, "1") as other:
        producer.start()
        other.start()
        specs = [await make_job(servers, tmp_path, images) for images in range(20_000, 20_006)]
        await spec_when(servers, specs[0].job, lambda _: True)
        other.kill()
        for spec in specs:
            await spec_when(servers, spec.job, sealed)
            assert {each.ref.seq for each in await published(servers, spec.job)} == set(range(spec.images))


async def test_a_producer_without_a_share_stands_by(servers: str, tmp_path: Path, producer: Service) -> None:
    """With more producers than partitions of `jobs` one has none of them: it runs, and takes over once others leave."""
    others = [
        AIOKafkaConsumer(
            topics.JOBS.name, bootstrap_servers=servers, group_id="producer", enable_auto_commit=False,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        for _ in range(topics.JOBS.partitions)
    ]  # fmt: skip
    await asyncio.gather(*(other.start() for other in others))
    try:
        producer.start()
        await producer.says('"partitions": []')
    finally:
        await asyncio.gather(*(other.stop() for other in others))
    spec = await make_job(servers, tmp_path, 100)
    await spec_when(servers, spec.job, sealed)
    assert producer.stop() == 0, producer.log
