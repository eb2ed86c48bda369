"""The Kafka clients, set as this system needs them. The reasons stand in docs/contributors/architecture.md."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, TopicAlreadyExistsError
from aiokafka.partitioner import murmur2
from aiokafka.structs import ConsumerRecord

from trapstream.core import closed, retry, topics
from trapstream.core.errors import Retryable

closed.mend()

FETCH_WAIT_MS = 500
"""A fetch is answered as soon as there is a message. Where there is none it is asked again after so long, at half a
millisecond of the broker's processor time each. Whatever else goes over the same connection waits for it meanwhile, and
so does a partition whose last messages lay unread for a tenth of a second: aiokafka asks for the others without it."""
_SHORT_WAIT_MS = 100
"""Of clients that ask for offsets between two fetches."""


async def start_producer(servers: str) -> AIOKafkaProducer:
    """An idempotent producer with acks=all, started; waits for a broker that is away."""

    async def start() -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=servers,
            enable_idempotence=True,
            acks="all",
            linger_ms=2,
            max_batch_size=256 * 1024,
            max_request_size=topics.MAX_MESSAGE_BYTES,
            request_timeout_ms=60_000,  # a broker that restarts is back within this
        )
        await begin(producer, servers)
        return producer

    return await retry.until_back(start, "kafka")


async def begin(client: AIOKafkaProducer | AIOKafkaConsumer, servers: str) -> None:
    """Starts a client. Retryable where the broker is away: that client is stopped, make another one."""
    try:
        await client.start()
    except KafkaError as error:
        await client.stop()
        raise Retryable(f"{servers}: {error!r}") from error


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer, which can be stopped while its broker is away."""

    async def stop(self) -> None:
        """Leaves the group and closes the connections."""
        try:
            await super().stop()
        except asyncio.CancelledError:
            # aiokafka cancels a fetch that waits for its next attempt, and lets that cancellation out: whoever stops
            # the client would end without a word. One that is meant for us is counted.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            await self._client.close()


def group_consumer(servers: str, group: str, member: str, wait_ms: int = _SHORT_WAIT_MS) -> Consumer:
    """A member of a group, not yet started: static id, one assignor, no automatic commit. `wait_ms` of each fetch.

    aiokafka joins once for each configured assignor, so there is exactly one. The rebalance timeout is longer than
    any drain: a member that drains must not be evicted meanwhile.
    """
    return Consumer(
        bootstrap_servers=servers,
        group_id=group,
        group_instance_id=f"{group}-{member}",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        rebalance_timeout_ms=60_000,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=1_000,
        max_poll_interval_ms=300_000,
        fetch_max_wait_ms=wait_ms,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )


@functools.lru_cache(1024)
def job_partition(job: str) -> int:
    """The partition of `detections` that a job lives on: the default partitioner's answer for its key."""
    hashed: int = murmur2(job.encode())
    return (hashed & 0x7FFFFFFF) % topics.DETECTIONS.partitions


async def create_topics(servers: str) -> None:
    """Creates what is missing of the table in `topics`; waits for a broker that is away."""

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        try:
            await admin.start()
            there = set(await admin.list_topics())
            wanted = [topic for topic in topics.TOPICS if topic.name not in there]
            if wanted:
                await admin.create_topics(
                    [NewTopic(topic.name, topic.partitions, 1, topic_configs=topic.config()) for topic in wanted]
                )
        except TopicAlreadyExistsError:
            pass  # another process was faster, which is as good
        except (KafkaError, OSError) as error:
            raise Retryable(f"{servers}: {error!r}") from error
        finally:
            await admin.close()

    await retry.until_back(create, "kafka")


async def follow(
    servers: str, topic: topics.Topic, caught_up: asyncio.Event | None = None
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """A compacted topic from its beginning and then for ever, in batches, by no group.

    `caught_up` is set before the batch is yielded that ends with what was in the topic at the start; that batch may
    be empty.
    """

    parts = [TopicPartition(topic.name, number) for number in range(topic.partitions)]

    async def start() -> tuple[Consumer, dict[TopicPartition, int]]:
        consumer = Consumer(
            bootstrap_servers=servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            consumer.assign(parts)
            consumer.pause(*parts)  # no fetch yet: what is asked would wait for its answer
            await consumer.seek_to_beginning(*parts)
            ends = await consumer.end_offsets(parts)
            consumer.resume(*parts)
        except KafkaError as error:
            await consumer.stop()
            raise Retryable(f"{servers}: {error!r}") from error
        return consumer, ends

    async def is_at_end() -> bool:
        return all([await consumer.position(part) >= ends[part] for part in parts])

    async def read() -> tuple[list[ConsumerRecord], bool]:
        try:
            waits = caught_up is not None and not caught_up.is_set()
            if waits and await is_at_end():
                return [], True
            batches = await consumer.getmany(timeout_ms=200 if waits else 2_000)  # or as soon as there is something
            records = [record for batch in batches.values() for record in batch]
            return records, waits and await is_at_end()
        except KafkaError as error:
            raise Retryable(f"{servers}: {error!r}") from error

    consumer, ends = await retry.until_back(start, "kafka")
    try:
        while True:
            records, just_now = await retry.until_back(read, "kafka")
            if just_now and caught_up is not None:
                caught_up.set()
            if records or just_now:
                yield records
    finally:
        await consumer.stop()


async def read_table(servers: str, topic: topics.Topic) -> dict[bytes, bytes]:
    """A compacted topic as it is now: key to newest value, without what was deleted."""
    table: dict[bytes, bytes] = {}
    caught_up = asyncio.Event()
    async with contextlib.aclosing(follow(servers, topic, caught_up)) as batches:
        async for records in batches:
            for record in records:
                table.pop(record.key, None)
                if record.value is not None:
                    table[record.key] = record.value
            if caught_up.is_set():
                break
    return table


async def started(consumer: AIOKafkaConsumer) -> None:
    """Starts a consumer; waits for a broker that is away."""

    async def start() -> None:
        try:
            await consumer.start()
        except KafkaError as error:
            raise Retryable(repr(error)) from error

    await retry.until_back(start, "kafka")
