"""Sending for all jobs of a producer: one client, turns, and a bound on the chunks that are on their way."""

import asyncio
import contextlib
import zlib
from collections.abc import Iterator

from aiokafka.errors import KafkaError

from producer.chunks import Chunk
from trapstream.core import log, messages, retry, topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.outbox import Outbox

MOST_IN_FLIGHT = 8
"""Chunks sent and not yet acknowledged, of all jobs together: this bounds the producer's memory."""
_SAY_SECONDS = 5.0
"""A wait for Kafka is said as often as this."""


class Sender:
    """Sends the chunks and specs of all jobs by one client."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._in_flight = asyncio.Semaphore(MOST_IN_FLIGHT)
        self.turn = asyncio.Lock()
        """Held to read and send one chunk. It is first come, first served, so jobs take turns."""

    async def send(self, spec: JobSpec, chunk: Chunk) -> asyncio.Future[list[object]]:
        """Queues the chunk, spread over the lane's partitions; the future is for `acknowledged`. It waits while too
        many chunks are on their way. Retryable if Kafka refuses it.

        A reference's partition follows from job and seq: it is the same when it is sent again, and the first
        images of many small jobs do not meet on one partition.
        """
        topic = topics.lane_topic(spec.lane)
        await self._in_flight.acquire()
        try:
            start = zlib.crc32(spec.job.encode()) + chunk.first
            queued = []
            with _saying(spec.lane):
                for each in range(min(topic.partitions, len(chunk.refs))):
                    records = [(None, ref) for ref in chunk.refs[each :: topic.partitions]]
                    queued += await self._outbox.send_batch(topic.name, (start + each) % topic.partitions, records)
        except BaseException as error:
            self._in_flight.release()
            if isinstance(error, KafkaError):
                raise Retryable(f"could not send to {topic.name}: {error!r}") from error
            raise
        sent = asyncio.gather(*queued)
        sent.add_done_callback(self._end)
        return sent

    async def acknowledged(self, sent: asyncio.Future[list[object]], lane: Lane) -> None:
        """Waits for the acknowledgement of a chunk. Retryable if it will not come: then send again."""
        with _saying(lane):
            await asyncio.wait([sent])
        if (error := sent.exception()) is not None:
            raise Retryable(f"not acknowledged: {error!r}") from error

    async def send_spec(self, spec: JobSpec) -> None:
        """Writes the job's spec; returns once it is acknowledged, however long Kafka is away."""
        await self._outbox.deliver(topics.JOBS.name, messages.encode(spec), spec.job.encode())

    def _end(self, sent: asyncio.Future[list[object]]) -> None:
        self._in_flight.release()
        sent.exception()  # seen: a job that ended meanwhile does not ask


@contextlib.contextmanager
def _saying(lane: Lane) -> Iterator[None]:
    """Says by log and metric that Kafka is waited for, as long as the wait inside takes."""
    with retry.Waiter("kafka") as waiter:

        async def say() -> None:
            while True:
                await asyncio.sleep(_SAY_SECONDS)
                waiter.set(True)
                log.get_logger().warning("waiting", on="kafka", lane=lane)

        saying = asyncio.create_task(say())
        try:
            yield
        finally:
            saying.cancel()
