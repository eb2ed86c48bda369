"""Sending for all jobs of a producer: one client, turns, and a bound on the chunks that are on their way."""

import asyncio
import zlib

from aiokafka.errors import KafkaError

from producer.chunks import Chunk
from trapstream.core import messages, topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec
from trapstream.core.outbox import Outbox

MOST_IN_FLIGHT = 8
"""Chunks sent and not yet acknowledged, of all jobs together: this bounds the producer's memory."""


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

    async def acknowledged(self, sent: asyncio.Future[list[object]]) -> None:
        """Waits for the acknowledgement of a chunk. Retryable if it will not come: then send again."""
        await asyncio.wait([sent])
        if (error := sent.exception()) is not None:
            raise Retryable(f"not acknowledged: {error!r}") from error

    async def send_spec(self, spec: JobSpec) -> None:
        """Writes the job's spec; returns once it is acknowledged, however long Kafka is away."""
        await self._outbox.deliver(topics.JOBS.name, messages.encode(spec), spec.job.encode())

    def _end(self, sent: asyncio.Future[list[object]]) -> None:
        self._in_flight.release()
        sent.exception()  # seen: a job that ended meanwhile does not ask
