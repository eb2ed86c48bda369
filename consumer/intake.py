"""Intake: one lane's references from Kafka, their watermarks, and the commits."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection

import msgspec
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from consumer.work import Task, Times
from trapstream.core import faults, kafka, lag, letters, log, messages, metrics, topics
from trapstream.core.channel import Channel
from trapstream.core.errors import BadMessage
from trapstream.core.jobs import JobTable
from trapstream.core.messages import ImageRef, Lane
from trapstream.core.offsets import Watermark
from trapstream.core.outbox import Outbox
from trapstream.core.settings import ConsumerSettings

_POLL_MS = 200
_COMMIT_SECONDS = 5.0


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]
    """One lane. Tasks go into `channel`; a full channel stops the polling, and so the fetching."""

    def __init__(self, lane: Lane, settings: ConsumerSettings, jobs: JobTable, producer: Outbox) -> None:
        self.lane = lane
        self.channel: Channel[Task] = Channel(settings.batch)
        self._jobs = jobs
        self._producer = producer
        self._drain_seconds = settings.drain_seconds
        self._consumer = kafka.group_consumer(
            settings.kafka, topics.lane_group(lane), settings.member, kafka.FETCH_WAIT_MS
        )
        self._marks: dict[TopicPartition, Watermark] = {}
        self._begins: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, tuple[int, str]] = {}
        self._held: Counter[TopicPartition] = Counter()
        self._generation = 0
        self._progress = asyncio.Event()

    async def start(self) -> None:
        """Joins the lane's group."""
        self._consumer.subscribe([topics.lane_topic(self.lane).name], listener=self)
        await kafka.started(self._consumer)

    async def run(self, stop: asyncio.Event) -> None:
        """Polls until `stop` is set."""
        while not stop.is_set():
            try:
                batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=64)
            except KafkaError as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
                await asyncio.sleep(_POLL_MS / 1000)
                continue
            generation = self._generation  # after the poll: what it gives belongs to the assignment of this moment
            for part, records in batches.items():
                for record in records:
                    if stop.is_set() or generation != self._generation:
                        break  # not marked as fetched: whoever owns the partition next reads it again
                    await self._take(part, record)

    async def close(self) -> None:
        """Waits for what is in flight, commits, leaves."""
        await self._drain(list(self._marks), self._drain_seconds)
        await self._consumer.stop()

    async def commit(self) -> None:
        """Commits the watermarks that moved. A rebalance in between is no error: the work is done again."""
        moved = {
            part: place
            for part in self._marks
            if (place := self._place(part)) is not None and place != self._committed.get(part)
        }
        metrics.IN_FLIGHT.labels(self.lane).set(self.in_flight)
        if not moved:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):  # aiokafka would try for ever
                await self._consumer.commit(moved)
            faults.reach("emit.5")
            self._committed.update(moved)
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.get_logger().warning("commit put off", lane=self.lane, error=repr(error))

    def _place(self, part: TopicPartition) -> tuple[int, str] | None:
        """What to commit: the watermark, and beside it how many references above it keep nobody busy."""
        mark = self._marks[part]
        position = mark.position if mark.position is not None else self._begins.get(part)
        if position is None:
            return None
        return position, lag.aside_metadata(mark.in_flight - mark.open + self._held[part])

    @property
    def in_flight(self) -> int:
        """References taken and not yet below the watermark."""
        return sum(mark.in_flight for mark in self._marks.values())

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Lets the revoked partitions' work end, under one deadline, and commits it."""
        self._generation += 1
        if revoked:
            log.get_logger().info("partitions revoked", lane=self.lane, count=len(revoked))
        await self._drain(revoked, self._drain_seconds)
        for part in revoked:
            self._marks.pop(part, None)
            self._begins.pop(part, None)
            self._committed.pop(part, None)
            self._held.pop(part, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begins fresh watermarks; reading begins at the committed offsets."""
        self._generation += 1
        self._marks = {part: Watermark() for part in assigned}
        self._begins.clear()
        self._committed.clear()
        self._held.clear()
        log.get_logger().info("partitions assigned", lane=self.lane, count=len(assigned))

    async def _take(self, part: TopicPartition, record: ConsumerRecord) -> None:
        mark = self._marks.get(part)
        if mark is None:
            return
        mark.fetched(record.offset)
        self._begins.setdefault(part, record.offset)

        def done() -> None:
            mark.done(record.offset)
            self._progress.set()

        def wanted() -> bool:
            return self._marks.get(part) is mark

        def hold(change: int) -> None:
            if wanted():
                self._held[part] += change
                self._progress.set()

        try:
            if len(record.value or b"") > topics.MAX_REF_BYTES:
                raise BadMessage(f"too large: {len(record.value)} bytes, the most is {topics.MAX_REF_BYTES}")
            ref = messages.decode(record.value, ImageRef)
            spec = self._jobs.specs.get(ref.job) or await self._jobs.find(ref.job)
            if spec is None:
                raise BadMessage(f"no such job: {ref.job}")
        except BadMessage as error:
            await letters.park(self._producer, record, str(error))
            done()
            return
        if spec.cancelled:
            done()
            return
        arrived = record.timestamp / 1000 if ref.arrived is msgspec.UNSET else ref.arrived
        times = Times({"wait": max(0.0, 1000 * (time.time() - arrived))})
        task = Task(ref=ref, spec=spec, lane=self.lane, done=done, wanted=wanted, hold=hold, times=times)
        await self.channel.send(task)

    async def _drain(self, parts: Collection[TopicPartition], seconds: float) -> None:
        def busy(part: TopicPartition) -> bool:
            # What waits for a host or a model that is away may wait for long: it is left to whoever reads it next.
            return part in self._marks and self._marks[part].open > self._held[part]

        try:
            async with asyncio.timeout(seconds):
                while any(map(busy, parts)):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            log.get_logger().warning("drain cut short", lane=self.lane, left=self.in_flight)
        await self.commit()
