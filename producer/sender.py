"""What all jobs of a producer share: the Kafka client, the turn to send, and the room in flight."""

import asyncio
import zlib
from collections.abc import Sequence
from typing import NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from producer.chunks import Chunk
from trapstream.core import kafka, log, messages, metrics, topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec

MOST_IN_FLIGHT = 8
"""Chunks sent and not yet acknowledged, of all jobs together: this bounds the producer's memory."""
_STOP_SECONDS = 5.0
_SAY_SECONDS = 5.0
"""A wait for Kafka is said as often as this."""


class Sent(NamedTuple):
    """A chunk on its way."""

    answer: asyncio.Future[None]
    """Done once the chunk is acknowledged; a KafkaError if it never will be."""
    client: AIOKafkaProducer
    topic: str


class Sender:
    """Sends chunks and specs with acks=all, idempotent. An async context: it starts and stops its client."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._producer: AIOKafkaProducer | None = None
        self._renewing = asyncio.Lock()
        self._room = asyncio.Semaphore(MOST_IN_FLIGHT)
        self.turn = asyncio.Lock()
        """Held to read and send one chunk. It is first come, first served, so jobs take turns."""

    async def __aenter__(self) -> Self:
        self._producer = await kafka.start_producer(self._servers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await _stop(self._producer)

    async def send(self, spec: JobSpec, chunk: Chunk) -> Sent:
        """Queues the chunk, spread over the lane's partitions; waits for room. Retryable if Kafka refuses it.

        A reference's partition follows from job and seq: it is the same when it is sent again, and the first
        images of many small jobs do not meet on one partition.
        """
        producer = self._client()
        topic = topics.lane_topic(spec.lane).name
        await self._room.acquire()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: self._room.release())
        try:
            count = len(await producer.partitions_for(topic))
            start = zlib.crc32(spec.job.encode()) + chunk.first
            answers = []
            for each in range(min(count, len(chunk.refs))):
                refs = chunk.refs[each::count]
                answers += await _send_to(producer, topic, (start + each) % count, refs)
        except BaseException as error:
            answer.cancel()
            if isinstance(error, KafkaError):
                await self._renew(producer)
                raise Retryable(f"could not send to {topic}: {error!r}") from error
            raise
        _settle(answer, answers)
        return Sent(answer, producer, topic)

    async def acknowledged(self, sent: Sent) -> None:
        """Waits for the acknowledgement. Retryable if it will not come: then send again."""
        while not (await asyncio.wait([sent.answer], timeout=_SAY_SECONDS))[0]:
            _say_waiting(sent.topic)
        metrics.WAITING.labels("kafka").set(0)
        error = sent.answer.exception()
        if error is not None:
            await self._renew(sent.client)
            raise Retryable(f"not acknowledged: {error!r}") from error

    async def send_spec(self, spec: JobSpec) -> None:
        """Writes the job's spec, acknowledged. Retryable if Kafka refuses it."""
        producer = self._client()
        try:
            await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), key=spec.job.encode())
        except KafkaError as error:
            await self._renew(producer)
            raise Retryable(f"could not write job {spec.job}: {error!r}") from error

    def _client(self) -> AIOKafkaProducer:
        assert self._producer is not None, "the sender was not entered"
        return self._producer

    async def _renew(self, broken: AIOKafkaProducer) -> None:
        """Another client in place of `broken`, once, whoever of its users comes first.

        After a batch that failed for good the numbering of an idempotent client has a gap: all that follows fails.
        """
        async with self._renewing:
            if self._producer is broken:
                await _stop(broken)
                self._producer = await kafka.start_producer(self._servers)


async def _send_to(
    producer: AIOKafkaProducer, topic: str, partition: int, refs: Sequence[bytes]
) -> list[asyncio.Future[object]]:
    answers = []
    batch = producer.create_batch()
    for ref in refs:
        if batch.append(key=None, value=ref, timestamp=None) is None:
            answers.append(await _queue(producer, batch, topic, partition))
            batch = producer.create_batch()
            batch.append(key=None, value=ref, timestamp=None)
    answers.append(await _queue(producer, batch, topic, partition))
    return answers


async def _queue(producer: AIOKafkaProducer, batch: object, topic: str, partition: int) -> asyncio.Future[object]:
    batch.close()  # type: ignore[attr-defined]
    while True:
        try:
            async with asyncio.timeout(_SAY_SECONDS):
                answer: asyncio.Future[object] = await producer.send_batch(batch, topic, partition=partition)
        except (TimeoutError, KafkaTimeoutError):
            _say_waiting(topic)  # what is queued before waits for Kafka, and so does this: nothing is lost
        else:
            return answer


def _say_waiting(topic: str) -> None:
    metrics.WAITING.labels("kafka").set(1)
    log.get_logger().warning("waiting", on="kafka", topic=topic)


def _settle(whole: asyncio.Future[None], answers: Sequence[asyncio.Future[object]]) -> None:
    """Makes `whole` done when all of `answers` are."""
    left = len(answers)

    def one(answer: asyncio.Future[object]) -> None:
        nonlocal left
        left -= 1
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
        if whole.done():
            return
        if error is not None:
            whole.set_exception(error if isinstance(error, Exception) else KafkaError("the client was stopped"))
            whole.exception()  # seen: a job that ended meanwhile does not ask
        elif left == 0:
            whole.set_result(None)

    for answer in answers:
        answer.add_done_callback(one)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        log.get_logger().warning("client left behind", error=repr(error))
