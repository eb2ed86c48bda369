"""What the aggregator reports: to Kafka how far the jobs are and how far it is itself, and by metric its latency."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from aggregator.lease import Lease
from aggregator.partitions import Partitions
from aggregator.progress import status_of
from trapstream.core import kafka, log, messages, metrics, topics
from trapstream.core.jobs import JobTable
from trapstream.core.messages import JobSpec
from trapstream.core.outbox import Outbox
from trapstream.core.settings import AggregatorSettings

_OBSERVED = 32
"""Results of a batch whose latency is observed: a look at each would cost a part of the fold's rate. Batches of live
images are mostly smaller."""


class Reports:
    """Sends the statuses of the jobs of our partitions."""

    def __init__(self, settings: AggregatorSettings, partitions: Partitions, producer: Outbox, table: JobTable) -> None:
        self._settings = settings
        self._partitions = partitions
        self._producer = producer
        self._table = table
        self._sending = asyncio.Lock()  # a report must not overtake the one after it

    async def announce(self, job: str, status: bytes) -> None:
        """Sends a job's status; returns once it is acknowledged."""
        async with self._sending:
            await self._producer.deliver(topics.STATUS.name, status, job.encode())

    async def report(self) -> None:
        """Reports the jobs that changed, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.status_seconds)
            sent: list[asyncio.Future[object]] = []
            with contextlib.suppress(KafkaError):
                for lease in list(self._partitions.leases.values()):
                    sent += [future for job in list(lease.progress) if (future := await self._report_job(lease, job))]
            await asyncio.gather(*sent, return_exceptions=True)
            metrics.JOBS_OPEN.set(sum(len(lease.progress) for lease in self._partitions.leases.values()))

    async def _report_job(self, lease: Lease, job: str) -> asyncio.Future[object] | None:
        async with self._sending:
            spec, progress = self._table.specs.get(job), lease.progress.get(job)
            if spec is None or progress is None or lease.released.is_set():
                return None
            if not progress.changed and not progress.window:
                return None
            progress.changed = False
            status = messages.encode(status_of(spec, progress, time.time(), self._partitions.waits))
            future: asyncio.Future[object] = await self._producer.send(topics.STATUS.name, status, job.encode())
            return future

    async def commit(self, consumer: kafka.Consumer) -> None:
        """Tells the group how far we are, for those who measure lag. The stores do not read it."""
        while True:
            await asyncio.sleep(self._settings.lag_seconds)
            offsets = {
                TopicPartition(topics.DETECTIONS.name, number): lease.store_offset
                for number, lease in self._partitions.leases.items()
                if lease.store_offset is not None
            }
            if offsets:
                try:
                    async with asyncio.timeout(self._settings.lag_seconds):
                        await consumer.commit(offsets)
                except (KafkaError, TimeoutError) as error:
                    log.get_logger().debug("lag not told", error=repr(error))


def observe_latency(records: Sequence[ConsumerRecord], specs: Mapping[str, JobSpec], now: float) -> None:
    """Counts how long ago some of `records` came into the log. `now`: seconds since 1970."""
    for record in records[:: -(-len(records) // _OBSERVED)]:
        spec = specs.get((record.key or b"").decode(errors="replace"))
        if spec is not None:
            metrics.STAGE_SECONDS.labels(spec.lane, "fold").observe(max(0.0, now - record.timestamp / 1000))
