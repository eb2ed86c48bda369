"""The Kafka clients, set as this system needs them. The reasons stand in docs/contributors/architecture.md."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError
from aiokafka.partitioner import murmur2
from aiokafka.structs import ConsumerRecord

from trapstream.core import retry, topics
from trapstream.core.errors import Retryable

FETCH_WAIT_MS = 500
"""A fetch is answered as soon as there is a message. Where there is none it is asked again after so long, at half a
millisecond of the broker's processor time each. Whatever else goes over the same connection waits for it meanwhile, and
so does a partition whose last messages lay unread for a tenth of a second: aiokafka asks for the others without it."""
_SHORT_WAIT_MS = 100
"""Of clients that ask for offsets between two fetches."""

_send = AIOKafkaConnection.send


def _send_or_break(self: Any, request: Any, expect_response: bool = True) -> Any:
    """On uvloop a write to a transport that has just been closed is a RuntimeError, and aiokafka expects an OSError.

    So a broker that died in that very moment ended whoever asked, where all others wait for it to come back.
    """
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        if not self._writer.transport.is_closing():
            raise
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} is closed") from error


AIOKafkaConnection.send = _send_or_break


@contextlib.contextmanager
def retryable(servers: str) -> Iterator[None]:
    """Retryable for an error of Kafka, or of the way there, that is met inside."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise Retryable(f"{servers}: {error!r}") from error


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
        await _begin(producer, servers)
        return producer

    return await retry.until_back(start, "kafka")


async def _begin(client: AIOKafkaProducer | AIOKafkaConsumer, servers: str) -> None:
    """Starts a client. Retryable where the broker is away: that client is stopped, make another one."""
    with retryable(servers):
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise


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


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Is told which partitions its consumer has, also before `group_consumer` returns."""

    consumer: Consumer


async def group_consumer(
    servers: str, group: str, member: str, topic: str, listener: Listener | None = None, wait_ms: int = _SHORT_WAIT_MS
) -> Consumer:
    """A member of a group that reads `topic`: static id, one assignor, no automatic commit. `wait_ms` of each fetch.

    Waits for a broker that is away.

    aiokafka joins once for each configured assignor, so there is exactly one. The rebalance timeout is longer than
    any drain: a member that drains must not be evicted meanwhile.
    """

    async def start() -> Consumer:
        consumer = Consumer(
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
        if listener is not None:
            listener.consumer = consumer
        consumer.subscribe([topic], listener=listener)
        await _begin(consumer, servers)
        return consumer

    return await retry.until_back(start, "kafka")


async def reader(servers: str, parts: Collection[TopicPartition] = (), **options: object) -> Consumer:
    """A consumer of `parts` without a group, which fetches nothing until they are resumed: a question would wait for
    the fetch. `options` of aiokafka's consumer. Retryable where the broker is away."""
    consumer = Consumer(
        bootstrap_servers=servers, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    await _begin(consumer, servers)
    if parts:
        consumer.assign(parts)
        consumer.pause(*parts)
    return consumer


def parts_of(topic: topics.Topic) -> Sequence[TopicPartition]:
    """All partitions of a topic."""
    return [TopicPartition(topic.name, number) for number in range(topic.partitions)]


@functools.lru_cache(1024)
def job_partition(job: str) -> int:
    """The partition of `detections` that a job lives on: the default partitioner's answer for its key."""
    hashed: int = murmur2(job.encode())
    return (hashed & 0x7FFFFFFF) % topics.DETECTIONS.partitions


@contextlib.asynccontextmanager
async def admin_client(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks for what consumers cannot. Retryable for an error of Kafka that is met inside."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        with retryable(servers):
            await admin.start()
            yield admin
    finally:
        await admin.close()


async def create_topics(servers: str) -> None:
    """Creates what is missing of the table in `topics`; waits for a broker that is away."""

    async def create() -> None:
        async with admin_client(servers) as admin:
            there = set(await admin.list_topics())
            wanted = [topic for topic in topics.TOPICS if topic.name not in there]
            if wanted:
                with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster, which is as good
                    await admin.create_topics(
                        [NewTopic(topic.name, topic.partitions, 1, topic_configs=topic.config()) for topic in wanted]
                    )

    await retry.until_back(create, "kafka")


async def follow(
    servers: str, topic: topics.Topic, caught_up: asyncio.Event | None = None
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """A compacted topic from its beginning and then for ever, in batches, by no group.

    `caught_up` is set before the batch is yielded that ends with what was in the topic at the start; that batch may
    be empty.
    """
    parts = parts_of(topic)

    async def start() -> tuple[Consumer, dict[TopicPartition, int]]:
        consumer = await reader(servers, parts, fetch_max_wait_ms=FETCH_WAIT_MS)
        try:
            with retryable(servers):
                await consumer.seek_to_beginning(*parts)
                ends = await consumer.end_offsets(parts)
        except BaseException:
            await consumer.stop()
            raise
        consumer.resume(*parts)
        return consumer, ends

    async def is_at_end() -> bool:
        return all([await consumer.position(part) >= ends[part] for part in parts])

    async def read() -> tuple[list[ConsumerRecord], bool]:
        with retryable(servers):
            waits = caught_up is not None and not caught_up.is_set()
            if waits and await is_at_end():
                return [], True
            batches = await consumer.getmany(timeout_ms=200 if waits else 2_000)  # or as soon as there is something
            records = [record for batch in batches.values() for record in batch]
            return records, waits and await is_at_end()

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
