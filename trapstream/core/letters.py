"""The dead letters: written, read, and published again to where they came from."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator

from aiokafka.structs import ConsumerRecord

from trapstream.core import kafka, log, messages, metrics, topics
from trapstream.core.errors import BadMessage, TrapstreamError
from trapstream.core.messages import DeadLetter
from trapstream.core.outbox import Outbox

_ORIGINS = frozenset({topics.LIVE.name, topics.BULK.name, topics.DETECTIONS.name})


class NotAgain(TrapstreamError):
    """The message cannot be published again. The text is one line that says why."""


def origin(letter: DeadLetter) -> str:
    """Where it came from: TOPIC:PARTITION:OFFSET."""
    return f"{letter.topic}:{letter.partition}:{letter.offset}"


def content(letter: DeadLetter) -> bytes:
    """What is kept of the message."""
    try:
        return base64.b64decode(letter.value)
    except ValueError:
        return b""


def is_cut(letter: DeadLetter) -> bool:
    """Whether the message was longer than what is kept."""
    kept = len(content(letter))
    return kept >= messages.MOST_LETTER_BYTES if letter.size is None else kept < letter.size


async def park(producer: Outbox, record: ConsumerRecord, reason: str) -> None:
    """Parks a message that cannot be read, with its origin; returns once it is acknowledged, whatever it takes."""
    content = record.value or b""
    letter = messages.DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason,
        value=base64.b64encode(content[: messages.MOST_LETTER_BYTES]).decode(),
        size=len(content),
    )
    await producer.deliver(topics.DEAD_LETTERS.name, messages.encode(letter))
    metrics.DEAD_LETTERS.labels(record.topic).inc()
    log.get_logger().warning(
        "dead letter", topic=record.topic, partition=record.partition, offset=record.offset, reason=reason
    )


async def read(servers: str) -> AsyncGenerator[DeadLetter, None]:
    """All dead letters, the oldest first, as a stream. Waits for a broker that is away."""
    caught_up = asyncio.Event()
    async with contextlib.aclosing(kafka.follow(servers, topics.DEAD_LETTERS, caught_up)) as batches:
        async for records in batches:
            for record in records:
                try:
                    yield messages.decode(record.value, DeadLetter)
                except BadMessage as error:
                    log.get_logger().error("unreadable", kind="DeadLetter", offset=record.offset, error=str(error))
            if caught_up.is_set():
                return


async def again(servers: str, wanted: str) -> str:
    """Publishes the message that came from `wanted` to the same partition; its new TOPIC:PARTITION:OFFSET.

    NotAgain if there is no such letter, or not all of it was kept; Retryable where Kafka does not take it.
    """
    async with contextlib.aclosing(read(servers)) as letters:
        letter = await anext((each async for each in letters if origin(each) == wanted), None)
    if letter is None:
        raise NotAgain(f"no dead letter from {wanted}; `trapstream dead-letters` lists them")
    if is_cut(letter):
        raise NotAgain(
            f"the message from {wanted} is longer than the {messages.MOST_LETTER_BYTES:,} bytes that are kept of one, "
            "so it cannot be published again; submit its image again"
        )
    if letter.topic not in _ORIGINS:
        raise NotAgain(f"{letter.topic} is no topic that messages are published to again")
    producer = await kafka.start_producer(servers)
    try:
        with kafka.retryable(f"{servers} did not take it"):
            sent = await producer.send_and_wait(letter.topic, content(letter), partition=letter.partition)
    finally:
        await producer.stop()
    return f"{letter.topic}:{letter.partition}:{sent.offset}"
