"""Jobs to publish, and what a producer left of them in Kafka."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.waiting import eventually
from trapstream.core import kafka, messages, status, topics
from trapstream.core.messages import ImageRef, JobSpec, Lane, ModelInfo
from trapstream.jobs import submit

MODEL = ModelInfo(
    name="tiny",
    version="1",
    sha256="0" * 64,
    image_size=640,
    stride=32,
    classes={"1": "animal"},
    typical_threshold=0.2,
    conservative_threshold=0.05,
)


class Published(NamedTuple):
    """One reference as it stands in Kafka."""

    partition: int
    offset: int
    ref: ImageRef


@asynccontextmanager
async def clean_lanes(servers: str) -> AsyncIterator[None]:
    """The topics are there; what the test published is deleted after it, since others share the broker."""
    await kafka.create_topics(servers)
    try:
        yield
    finally:
        consumer = AIOKafkaConsumer(bootstrap_servers=servers)
        await consumer.start()
        ends = await consumer.end_offsets(_parts(topics.BULK) + _parts(topics.LIVE))
        await consumer.stop()
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        await admin.delete_records({part: RecordsToDelete(before_offset=end) for part, end in ends.items()})
        await admin.close()


async def make_job(servers: str, home: Path, images: int, lane: Lane = Lane.BULK) -> JobSpec:
    """A job of a list of files that need not be there."""
    listed = home / f"{images}.txt"
    listed.write_text("".join(f"cam {number // 100}/{number}.jpg\n" for number in range(images)))
    return await submit.submit(
        servers, home / "results", [str(listed)], name="test", lane=lane, model=MODEL, threshold=0.005, anyway=True
    )


async def published(servers: str, job: str, lane: Lane = Lane.BULK) -> list[Published]:
    """All references of the job that stand in its lane now, in the order of each partition."""
    topic = topics.lane_topic(lane)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Published] = []
    try:
        parts = _parts(topic)
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        while [part for part in parts if await consumer.position(part) < ends[part]]:
            for part, records in (await consumer.getmany(timeout_ms=500)).items():
                # Others share the broker, and some of them send what cannot be read.
                mine = [record for record in records if job.encode() in record.value]
                refs = [(record.offset, messages.decode(record.value, ImageRef)) for record in mine]
                found += [Published(part.partition, offset, ref) for offset, ref in refs if ref.job == job]
    finally:
        await consumer.stop()
    return found


async def spec_when(servers: str, job: str, holds: Callable[[JobSpec], bool], seconds: float = 60.0) -> JobSpec:
    """The job's spec once `holds` of it."""

    async def look() -> JobSpec | None:
        spec = (await status.read_specs(servers)).get(job)
        return spec if spec is not None and holds(spec) else None

    return await eventually("the job's spec", look, seconds, pause=0.005)


def sealed(spec: JobSpec) -> bool:
    """Whether all references are acknowledged."""
    return spec.total is not None


def _parts(topic: topics.Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for number in range(topic.partitions)]
