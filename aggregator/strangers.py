"""Jobs that nobody knows: results whose job was never made, or whose spec is gone since its time was over.

A job's spec is in Kafka before its first reference is, so a job without one after a while will not get one. What is
kept of it goes, or stray results would stay on this disk for ever. Should its spec come after all, what the job then
lacks is published again (`aggregator.repair`).
"""

import asyncio
import time

from aggregator.lease import Lease, Released
from aggregator.partitions import Partitions
from trapstream.core import log
from trapstream.core.errors import Retryable
from trapstream.core.jobs import JobTable


async def forget_strangers(partitions: Partitions, table: JobTable, seconds: float) -> None:
    """Lets the stores forget jobs that were without a spec for `seconds`, until cancelled."""
    await table.caught_up.wait()
    since: dict[tuple[int, str], float] = {}
    while True:
        await asyncio.sleep(seconds / 4)
        now = time.monotonic()
        leases = list(partitions.leases.values())
        strange = {
            (lease.partition, job): lease
            for lease in leases
            for job in [*lease.progress, *lease.ended]
            if job not in table.specs and job not in lease.ending
        }
        since = {key: since.get(key, now) for key in strange}
        for (number, job), lease in strange.items():
            if now - since[number, job] >= seconds:
                try:
                    await _forget(lease, job)
                except Released:
                    continue
                except Retryable as error:
                    log.get_logger().warning("forgetting put off", job=job, error=str(error))


async def _forget(lease: Lease, job: str) -> None:
    # A few entries at a time between two folds. Killed in it: the rest goes later.
    while await lease.with_store(lambda store: job in store.jobs and store.drop_some(job)):
        pass
    await lease.with_store(lambda store: store.forget(job))
    lease.forget(job)
    log.get_logger().warning("job forgotten: it has no spec", job=job, partition=lease.partition)
