"""Reading jobs and their progress once, or as they change: what a command needs of the compacted topics."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from trapstream.core import kafka, log, messages, states, topics
from trapstream.core.errors import BadMessage, Retryable
from trapstream.core.messages import JobSpec, JobStatus

V = TypeVar("V", JobSpec, JobStatus)


async def read_specs(servers: str, seconds: float = 15.0) -> dict[str, JobSpec]:
    """Every job's newest spec. Retryable if Kafka does not answer within `seconds`."""
    specs: dict[str, JobSpec] = {}
    for key, value in await _read_to_end(servers, topics.JOBS, seconds):
        spec = _taken(key, value, JobSpec, specs)
        if spec is not None:
            specs[spec.job] = states.merged(specs.get(spec.job), spec)
    return specs


async def read_statuses(servers: str, seconds: float = 15.0) -> dict[str, JobStatus]:
    """Every job's newest status. Retryable if Kafka does not answer within `seconds`."""
    statuses: dict[str, JobStatus] = {}
    for key, value in await _read_to_end(servers, topics.STATUS, seconds):
        status = _taken(key, value, JobStatus, statuses)
        if status is not None:
            statuses[status.job] = status
    return statuses


async def watch_status(servers: str, job: str) -> AsyncIterator[JobStatus]:
    """The job's status now, if there is one, and then each new one; ends after a state that nothing follows."""
    async for records in kafka.follow(servers, topics.STATUS):
        mine = [record.value for record in records if record.key == job.encode() and record.value is not None]
        for value in mine:
            try:
                status = messages.decode(value, JobStatus)
            except BadMessage as error:
                log.get_logger().error("bad status", job=job, error=str(error))
                continue
            yield status
            if status.state in states.ENDED:
                return


def _taken(key: bytes | None, value: bytes | None, kind: type[V], known: dict[str, V]) -> V | None:
    if value is None:  # a tombstone: the job's retention is over
        known.pop((key or b"").decode(errors="replace"), None)
        return None
    try:
        return messages.decode(value, kind)
    except BadMessage as error:
        log.get_logger().error("bad message", key=key, error=str(error))
        return None


async def _read_to_end(servers: str, topic: topics.Topic, seconds: float) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of each record that stands in the topic now, in the order of each partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    found: list[tuple[bytes | None, bytes | None]] = []
    try:
        async with asyncio.timeout(seconds):
            await consumer.start()
            parts = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            ends = await consumer.end_offsets(parts)
            while [part for part in parts if await consumer.position(part) < ends[part]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.key, record.value) for record in records]
    except (KafkaError, TimeoutError) as error:
        raise Retryable(f"Kafka at {servers} does not answer: {str(error) or 'no answer in time'}") from error
    finally:
        await consumer.stop()
    return found
