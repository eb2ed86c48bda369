"""Intake: one lane's references from Kafka, their watermarks, and the commits."""

import asyncio
import time
from collections.abc import Collection
from functools import partial

import msgspec
from aiokafka import TopicPartition
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


class _Partition:
    """What of one partition was taken, is done, and is committed, for as long as it is assigned."""

    def __init__(self, progress: asyncio.Event) -> None:
        """`progress` is set whenever an image is done, or begins or ends to wait."""
        self._progress = progress
        self.watermark = Watermark()
        self.begin: int | None = None
        """The offset of the first reference that was taken."""
        self.held = 0
        """References that wait for a host or a model."""
        self.committed: tuple[int, str] | None = None
        self.assigned = True

    @property
    def is_busy(self) -> bool:
        """Whether work is left. What waits for a host or a model that is away may wait for long: it is left to
        whoever reads it next."""
        return self.assigned and self.watermark.open > self.held

    def to_commit(self) -> tuple[int, str] | None:
        """The watermark, and beside it how many references above it keep nobody busy; None where nothing moved."""
        position = self.begin if self.watermark.position is None else self.watermark.position
        if position is None:
            return None
        found = position, lag.aside_metadata(self.watermark.in_flight - self.watermark.open + self.held)
        return None if found == self.committed else found

    def done(self, offset: int) -> None:
        """The reference has its acknowledged result, or needs none."""
        self.watermark.done(offset)
        self._progress.set()

    def hold(self, change: int) -> None:
        """One reference more waits, or one less."""
        self.held += change
        self._progress.set()

    def leave(self) -> None:
        """It is another process's now: what is not committed will be read again there."""
        self.assigned = False
        self._progress.set()


class Intake(kafka.Listener):
    """One lane. Tasks go into `channel`; a full channel stops the polling, and so the fetching."""

    def __init__(self, lane: Lane, settings: ConsumerSettings, jobs: JobTable, producer: Outbox) -> None:
        self.lane = lane
        self.channel: Channel[Task] = Channel(settings.batch)
        self._jobs = jobs
        self._producer = producer
        self._settings = settings
        self._assigned: dict[TopicPartition, _Partition] = {}
        self._generation = 0
        self._progress = asyncio.Event()

    async def start(self) -> None:
        """Joins the lane's group."""
        group, topic = topics.lane_group(self.lane), topics.lane_topic(self.lane).name
        servers, member = self._settings.kafka, self._settings.member
        await kafka.group_consumer(servers, group, member, topic, self, kafka.FETCH_WAIT_MS)

    async def run(self, stop: asyncio.Event) -> None:
        """Polls until `stop` is set."""
        while not stop.is_set():
            try:
                batches = await self.consumer.getmany(timeout_ms=_POLL_MS, max_records=64)
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
        await self._drain(list(self._assigned.values()))
        await self.consumer.stop()

    async def commit(self) -> None:
        """Commits the watermarks that moved. A rebalance in between is no error: the work is done again."""
        moved = {
            part: (partition, position)
            for part, partition in self._assigned.items()
            if (position := partition.to_commit()) is not None
        }
        metrics.IN_FLIGHT.labels(self.lane).set(self.in_flight)
        if not moved:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):  # aiokafka would try for ever
                await self.consumer.commit({part: position for part, (_, position) in moved.items()})
            faults.reach("emit.5")
            for partition, position in moved.values():
                partition.committed = position
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.get_logger().warning("commit put off", lane=self.lane, error=repr(error))

    @property
    def in_flight(self) -> int:
        """References taken and not yet below the watermark."""
        return sum(partition.watermark.in_flight for partition in self._assigned.values())

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Lets the revoked partitions' work end, under one deadline, and commits it."""
        self._generation += 1
        if revoked:
            log.get_logger().info("partitions revoked", lane=self.lane, count=len(revoked))
        leaving = [part for part in revoked if part in self._assigned]
        await self._drain([self._assigned[part] for part in leaving])
        for part in leaving:
            self._assigned.pop(part).leave()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begins fresh watermarks; reading begins at the committed offsets."""
        self._generation += 1
        for partition in self._assigned.values():
            partition.leave()
        self._assigned = {part: _Partition(self._progress) for part in assigned}
        log.get_logger().info("partitions assigned", lane=self.lane, count=len(assigned))

    async def _take(self, part: TopicPartition, record: ConsumerRecord) -> None:
        """Makes a task of a reference that is wanted; any other one is done at once."""
        partition = self._assigned.get(part)
        if partition is None:
            return
        partition.watermark.fetched(record.offset)
        if partition.begin is None:
            partition.begin = record.offset
        done = partial(partition.done, record.offset)
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
        task = Task(
            ref=ref, spec=spec, lane=self.lane, times=times, done=done, hold=partition.hold,
            wanted=lambda: partition.assigned,
            cancelled=lambda: self._jobs.specs.get(ref.job, spec).cancelled,
        )  # fmt: skip
        await self.channel.send(task)

    async def _drain(self, partitions: Collection[_Partition]) -> None:
        """Waits until none of them is busy, or its time is over, and commits."""
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                while any(partition.is_busy for partition in partitions):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            log.get_logger().warning("drain cut short", lane=self.lane, left=self.in_flight)
        await self.commit()
