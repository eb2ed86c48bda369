"""Publishing jobs, each from its stored manifest to its seal. Can die anywhere and be called again."""

import asyncio
import zlib
from collections import deque
from pathlib import Path
from typing import NamedTuple

from aiokafka.errors import KafkaError
from msgspec.structs import replace

from producer import chunks, cursor
from producer.chunks import Chunk, DamagedManifest
from producer.cursor import Cursor
from producer.pace import Credit, Pace
from trapstream.core import faults, log, messages, metrics, topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec
from trapstream.core.meters import Meter
from trapstream.core.outbox import Outbox
from trapstream.core.result_store import manifest_path
from trapstream.core.settings import ProducerSettings

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


class Publisher(NamedTuple):
    """Publishes the jobs of one producer, any of them at once."""

    settings: ProducerSettings
    sender: Sender
    pace: Pace
    meter: Meter
    stop: asyncio.Event
    checking: asyncio.Semaphore
    """Bounds how many manifests are digested at once."""

    async def publish(self, spec: JobSpec) -> None:
        """Publishes every reference at least once, then seals the job; or says in its spec why it cannot be.

        Publishes no faster than the pace lets it, so a large job is open for as long as its images take.

        Returns early, at a chunk's end and with its cursor written, once `stop` is set. Retryable if Kafka refuses a
        reference: call again.
        """
        manifest = manifest_path(self.settings.results, spec.job)
        written = cursor.cursor_path(self.settings.cursors, spec.job)
        try:
            # 1. The manifest is the one that was submitted. Dying after this: nothing was sent, it is checked again.
            async with self.checking:
                await asyncio.to_thread(chunks.check, manifest, spec)
            faults.reach("publish.1")
            # 2. Go on where the cursor says. Dying after this: as before.
            done = await asyncio.to_thread(cursor.read, written, spec.manifest_sha256)
            faults.reach("publish.2")
            with self.pace.credit(spec) as credit:
                done = await self._send_all(spec, manifest, credit, done)
            if done.seq < spec.images:
                log.get_logger().info("left for the next start", job=spec.job, published=done.seq)
                return
            # 6. Seal the job: all is acknowledged. Dying before this: the cursor stands at the end.
            await self.sender.send_spec(replace(spec, total=spec.images))
            faults.reach("publish.6")
            log.get_logger().info("published", job=spec.job, references=spec.images)
        except DamagedManifest as error:
            log.get_logger().error("cannot be published", job=spec.job, error=str(error))
            await self.sender.send_spec(replace(spec, failed=str(error)))
        # 7. Forget the cursor. Dying before this: the next start reads the sealed spec, and removes it.
        await asyncio.to_thread(cursor.remove, written)
        faults.reach("publish.7")

    async def _send_all(self, spec: JobSpec, manifest: Path, credit: Credit, begin: Cursor) -> Cursor:
        """Steps 3 to 5, again and again. How far it came, written and acknowledged."""
        written = cursor.cursor_path(self.settings.cursors, spec.job)
        in_flight: deque[tuple[asyncio.Future[list[object]], Cursor]] = deque()
        done = saved = at = begin

        async def settle() -> Cursor:
            sent, after = in_flight.popleft()
            await self.sender.acknowledged(sent)
            credit.settle(after.seq - done.seq)
            metrics.PUBLISHED.labels(spec.lane.value).inc(after.seq - done.seq)
            self.meter.images += after.seq - done.seq
            faults.reach("publish.4")
            return after

        while at.seq < spec.images and not self.stop.is_set():
            if credit.left >= 1:
                async with self.sender.turn:
                    # 3. Send a chunk. Dying after this: it may be in the topic; the cursor is before it, so it is sent
                    #    again; the fold counts the first result.
                    most = int(min(credit.left, chunks.MOST_REFS))
                    with self.meter.work:
                        chunk = await asyncio.to_thread(chunks.read_checked, manifest, spec, at, most)
                        in_flight.append((await self.sender.send(spec, chunk), chunk.after))
                    credit.spend(chunk.after.seq - at.seq)
                    at = chunk.after
                faults.reach("publish.3")
            # 4. Count the acknowledged references, in order; all of them before a wait. Dying after this: those since
            #    the cursor are sent again.
            while in_flight and (credit.left < 1 or in_flight[0][0].done()):
                done = await settle()
            # 5. Write the cursor, which is never ahead of an acknowledgement. Dying after this: nothing is repeated.
            if done != saved:
                await asyncio.to_thread(cursor.write, written, done)
                saved = done
                faults.reach("publish.5")
            if credit.left < 1 and at.seq < spec.images:
                await credit.wait(self.stop)
        while in_flight:
            done = await settle()
        await asyncio.to_thread(cursor.write, written, done)
        faults.reach("publish.5")
        return done
