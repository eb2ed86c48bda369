"""A producer as a process of its own, and what it left in Kafka."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from producer import submit
from trapstream.core import kafka, messages, status, topics
from trapstream.core.messages import ImageRef, JobSpec, Lane, ModelInfo

T = TypeVar("T")

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


class Producer:
    """`python -m producer` over `home`. The same member each time, so that it is back in its group at once."""

    def __init__(self, servers: str, home: Path, checkpoint: int = 1000, member: str = "0") -> None:
        self.home = home
        self._environment = os.environ | {
            "TRAPSTREAM_HOME": str(home),
            "TRAPSTREAM_KAFKA": servers,
            "TRAPSTREAM_MEMBER": member,
            "TRAPSTREAM_PUBLISH_CHECKPOINT": str(checkpoint),
        }
        self._log = (home / "producer.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "producer"], env=self._environment, stderr=self._log, stdout=self._log
        )

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """Sends the signal and waits for the end."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(timeout=30)
        self._process = None
        return status

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.end(signal.SIGKILL)
        self._log.close()


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
        servers, home / "results", [str(listed)], name="test", lane=lane, model=MODEL, threshold=0.005
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
                refs = [(record.offset, messages.decode(record.value, ImageRef)) for record in records]
                found += [Published(part.partition, offset, ref) for offset, ref in refs if ref.job == job]
    finally:
        await consumer.stop()
    return found


async def spec_when(servers: str, job: str, holds: Callable[[JobSpec], bool], seconds: float = 60.0) -> JobSpec:
    """The job's spec once `holds` of it."""

    async def look() -> JobSpec | None:
        spec = (await status.read_specs(servers)).get(job)
        return spec if spec is not None and holds(spec) else None

    return await until(look, seconds)


async def until(look: Callable[[], Awaitable[T | None]], seconds: float = 60.0) -> T:
    """What `look` gives once it gives something; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while (found := await look()) is None:  # noqa: ASYNC110  # another process sets no event here
            await asyncio.sleep(0.005)
    return found


def sealed(spec: JobSpec) -> bool:
    """Whether all references are acknowledged."""
    return spec.total is not None


def _parts(topic: topics.Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for number in range(topic.partitions)]
