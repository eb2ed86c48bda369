"""The aggregator at work: fold what the log gives, report progress, end jobs."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from aggregator.ending import end_job
from aggregator.lease import STORE, Lease, Released, wait_for_disk
from aggregator.partitions import Partitions, bounds, forget_strangers
from aggregator.repair import Repair
from aggregator.reports import Reports, observe_latency
from trapstream.core import faults, jobs, kafka, letters, log, metrics, topics
from trapstream.core.messages import JobSpec
from trapstream.core.meters import Meter
from trapstream.core.outbox import Outbox
from trapstream.core.service import Health
from trapstream.core.settings import AggregatorSettings
from trapstream.results.fold import read
from trapstream.results.fold_store import Store

T = TypeVar("T")

GROUP = "aggregator"
_LINGER = 0.1
"""Seconds that a small batch waits for more: each costs a disk sync and a request to Kafka, whatever is in it."""
_ALIVE = 5.0
"""Seconds between two calls that tell Kafka that we are there while the disk holds us up."""


async def main(settings: AggregatorSettings, stop: asyncio.Event, health: Health) -> None:
    """Folds until `stop` is set."""
    # Thousands of records live for the length of a batch: with the usual thresholds the collector looks through them
    # again and again, and costs a sixth of the fold's rate.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    await kafka.create_topics(settings.kafka)
    async with contextlib.AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Outbox(settings.kafka))
        fold_thread = stack.enter_context(ThreadPoolExecutor(1, "fold"))
        write_thread = stack.enter_context(ThreadPoolExecutor(1, "write"))
        async with asyncio.TaskGroup() as tasks:
            partitions = Partitions(settings, fold_thread, tasks)
            work = Aggregator(settings, partitions, producer, write_thread, tasks, health.meters.stage("fold"))
            await work.run(stop, health)


class Aggregator:
    """Joins log, stores, jobs and reports. The rules are elsewhere: fold, store, ending, reports."""

    def __init__(
        self,
        settings: AggregatorSettings,
        partitions: Partitions,
        producer: Outbox,
        writer: ThreadPoolExecutor,
        tasks: asyncio.TaskGroup,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._meter = meter
        self._partitions = partitions
        self._producer = producer
        self._writer = writer
        self._tasks = tasks
        self._table = jobs.JobTable(settings.kafka, self._on_spec)
        partitions.on_taken = self._on_taken
        self._folding: asyncio.Task[None] | None = None
        self._reports = Reports(settings, partitions, producer, self._table)
        self._repair = Repair(settings, partitions, self._table)

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Works until `stop`, then ends what is in hand and gives the partitions up."""
        consumer = await kafka.group_consumer(
            self._settings.kafka, GROUP, self._settings.member, topics.DETECTIONS.name, self._partitions
        )
        background = [
            self._tasks.create_task(body)
            for body in (
                self._table.run(),
                self._reports.report(),
                self._reports.commit(consumer),
                self._repair.run(),
                self._producer.watch(),
                health.meters.watch(),
                forget_strangers(self._partitions, self._table, self._settings.unknown_seconds),
            )
        ]
        try:
            await self._intake(consumer, stop, health)
        finally:
            for task in background:
                task.cancel()
            await self._partitions.release()
            if self._folding is not None:
                self._folding.cancel()
            with contextlib.suppress(TimeoutError):  # a broker that is away must not hold us
                async with asyncio.timeout(self._settings.drain_seconds):
                    await consumer.stop()

    # From the log into the stores

    async def _intake(self, consumer: kafka.Consumer, stop: asyncio.Event, health: Health) -> None:
        most = self._settings.fold_batch
        while not stop.is_set():
            health.ready = self._partitions.joined and self._table.caught_up.is_set()
            try:
                batches = await consumer.getmany(timeout_ms=200, max_records=most)
            except KafkaError as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
                await asyncio.sleep(1.0)
                continue
            work = [
                (lease, records)
                for part, records in batches.items()
                if (lease := self._partitions.leases.get(part.partition)) and await self._take_batch(lease, records)
            ]
            if self._folding is not None:
                await self._keep_alive(consumer, self._folding, stop)
            count = sum(len(records) for _, records in work)
            self._meter.held.set(count >= most)
            if work:
                self._folding = self._tasks.create_task(self._fold_all(work))
                if count < most // 10:
                    await asyncio.sleep(_LINGER)
            health.details["partitions"] = {str(n): lease.store_offset for n, lease in self._partitions.leases.items()}
        if self._folding is not None:
            await asyncio.wait({self._folding}, timeout=self._settings.drain_seconds)

    async def _take_batch(self, lease: Lease, records: Sequence[ConsumerRecord]) -> bool:
        """Takes a batch that begins where the last one ended. Else seeks back once, so that none is skipped."""
        first = records[0].offset
        if first > lease.read_offset:
            part = TopicPartition(topics.DETECTIONS.name, lease.partition)
            begin, _ = await bounds(self._partitions.consumer, part)
            if begin <= lease.read_offset and lease.gap != first:
                lease.gap = first  # a gap that stays is the log's own
                self._partitions.consumer.seek(part, lease.read_offset)
                return False
            log.get_logger().error("records are gone", partition=lease.partition, after=lease.read_offset, before=first)
        lease.read_offset = max(lease.read_offset, records[-1].offset + 1)
        return True

    async def _keep_alive(self, consumer: kafka.Consumer, folding: asyncio.Task[None], stop: asyncio.Event) -> None:
        """Waits for a fold. One that lasts, since its disk refuses, must not cost us our membership of the group."""
        while not folding.done() and not stop.is_set():
            await asyncio.wait({folding}, timeout=_ALIVE)
            if not folding.done():
                held = consumer.assignment() - consumer.paused()
                consumer.pause(*held)
                await consumer.getmany(timeout_ms=0)
                consumer.resume(*(held & consumer.assignment()))

    async def _fold_all(self, work: list[tuple[Lease, Sequence[ConsumerRecord]]]) -> None:
        async def fold(lease: Lease, records: Sequence[ConsumerRecord]) -> None:
            with contextlib.suppress(Released):
                await self._fold(lease, records)

        # One thread does all of it; together, so that a store which refuses does not hold the others up.
        with self._meter.work:
            await asyncio.gather(*(fold(lease, records) for lease, records in work))

    async def _fold(self, lease: Lease, records: Sequence[ConsumerRecord]) -> None:
        """One batch of one partition, in steps that a kill may part anywhere."""
        records = [record for record in records if record.offset >= (lease.store_offset or 0)]
        if not records:
            return

        async def stored(call: Callable[[Store], T]) -> T:
            return await wait_for_disk(STORE, lambda: lease.with_store(call), tell)

        def tell(message: str | None) -> None:
            self._partitions.set_waits(lease, message)

        # 1. Read. Nothing is kept yet: killed here, the batch comes again.
        batch = await stored(lambda store: read(records, lease.partition, store.jobs, kafka.job_partition))
        faults.reach("fold.1")
        # 2. Park what cannot be read. Killed after it: it is parked a second time, which is better than never.
        await asyncio.gather(*(letters.park(self._producer, record, reason) for record, reason in batch.bad))
        faults.reach("fold.2")
        # 3. Entries and offset in one transaction. Killed in it: neither is there, and the batch comes again.
        #    Killed after it: both are there, and the log is read on from here.
        after = records[-1].offset + 1
        changes = await stored(lambda store: store.fold(batch.results, after))
        lease.store_offset = after
        self._meter.images += len(batch.results)
        faults.reach("fold.3")
        # 4. Tell. Killed here: the next owner reports from the store.
        now = time.time()
        observe_latency(records, self._table.specs, now)
        for job, change in changes.items():
            metrics.FOLDED.inc(change.fresh)
            metrics.REPEATED.inc(change.repeats)
            if job not in lease.ended:
                progress = lease.progress_of(job)
                progress.counts, progress.repeated = change.counts, change.repeated
                progress.add(change.fresh, now)
                self._begin_end(lease, job)
        faults.reach("fold.4")

    # Jobs and their ends

    def _on_spec(self, spec: JobSpec) -> None:
        lease = self._partitions.leases.get(kafka.job_partition(spec.job))
        if lease is not None:
            if spec.job not in lease.ended:
                lease.progress_of(spec.job).changed = True
            self._begin_end(lease, spec.job)

    def _on_taken(self, lease: Lease) -> None:
        for spec in list(self._table.specs.values()):
            if kafka.job_partition(spec.job) == lease.partition:
                self._on_spec(spec)

    def _begin_end(self, lease: Lease, job: str) -> None:
        """Begins a job's end if it is due and not under way."""
        spec = self._table.specs.get(job)
        if spec is None or job in lease.ending or (job in lease.ended and job not in lease.unfinished):
            return
        stopped = spec.cancelled or spec.failed is not None
        done = lease.progress[job].counts.done if job in lease.progress else 0
        if job in lease.unfinished or stopped or (spec.total is not None and done >= spec.total):
            task = self._tasks.create_task(self._end(lease, spec))
            lease.ending[job] = task
            task.add_done_callback(lambda _: lease.ending.pop(job, None))

    async def _end(self, lease: Lease, spec: JobSpec) -> None:
        with contextlib.suppress(Released):
            while True:
                if (spec.cancelled or spec.failed is not None) and spec.job not in lease.ended:
                    await self._wait_until_quiet(lease, spec)
                await end_job(lease, spec, self._settings.results, self._writer, self._reports.announce)
                newest = self._table.specs.get(spec.job, spec)
                if newest is spec or spec.job in lease.ended:
                    return
                spec = newest  # it was not due then; it may have been cancelled since

    async def _wait_until_quiet(self, lease: Lease, spec: JobSpec) -> None:
        """Waits until a job that was stopped gets no more results: consumers skip the rest of it, but not at once."""
        part = TopicPartition(topics.DETECTIONS.name, lease.partition)
        began = time.time()
        _, end = await bounds(self._partitions.consumer, part)
        while time.time() < began + self._settings.quiet_most_seconds:
            if lease.released.is_set():
                raise Released
            progress = lease.progress_of(spec.job)
            last = max(began, progress.last)
            if spec.total is not None and progress.counts.done >= spec.total:
                return
            if (lease.store_offset or 0) >= end and time.time() >= last + self._settings.quiet_seconds:
                return
            await asyncio.sleep(self._settings.quiet_seconds / 8)
