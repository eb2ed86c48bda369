"""From the journals to `images.live`, and the seal of a job whose period is over."""

import asyncio
import contextlib

import msgspec

from producer import chunks, cursor
from producer.live.live_job import LiveJob, Stage
from producer.live.series_journal import SeriesJournal
from trapstream.core import faults, log, messages, metrics, retry, topics
from trapstream.core.errors import Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.outbox import Outbox
from trapstream.core.settings import ProducerSettings

MOST = 500
"""References of one job sent together."""
_EVERY = 0.5
"""Seconds between two looks at the clock."""


class JournalPublisher:
    """Publishes the images that the series journal has on disk, and ends jobs. One a producer."""

    def __init__(self, settings: ProducerSettings, journal: SeriesJournal, outbox: Outbox, table: JobTable) -> None:
        self._settings, self._journal, self._outbox, self._table = settings, journal, outbox, table

    async def run(self) -> None:
        """Goes round the jobs for ever, until cancelled. A disk or a Kafka that is away is waited for."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: where the event comes with the cancellation, Python 3.11's forgets the latter.
                async with asyncio.timeout(_EVERY):
                    await self._journal.written.wait()
            self._journal.written.clear()
            await retry.until_back(self.round, "result store")

    async def round(self) -> None:
        """Each job once. Retryable for a disk that refuses."""
        try:
            for jobs in list(self._journal.jobs.values()):
                for job in list(jobs):
                    await self._publish(job)
        except OSError as error:
            raise Retryable(f"{error.filename or 'a disk'}: {error.strerror or error}") from error

    async def _publish(self, job: LiveJob) -> None:
        """One job, in steps that a kill may part anywhere."""
        known = self._table.specs.get(job.id)
        if known is not None and (known.cancelled or (known.failed and not job.record.spec.failed)):
            log.get_logger().info("live job stopped by its owner", job=job.id)
            await self._journal.close(job)
            await self._journal.forget(job)
            return
        is_open = job.record.stage is Stage.OPEN
        if not job.announced and job.journal.lines and (is_open or job.unpublished):
            # 1. The spec, before the first reference: nobody meets one without its job; and again where it changed.
            #    Killed after it: it is sent again, which changes nothing.
            job.announced = True
            await self._send_spec(job.record.spec if is_open else _as_opened(job.record.spec))
            faults.reach("carry.1")
        while job.unpublished:
            # 2. The references, acknowledged. Killed after it: the cursor is before them, so they are sent again; the
            #    fold counts the first result.
            most = min(MOST, job.unpublished)
            chunk = await asyncio.to_thread(chunks.read, job.journal.path, job.id, job.published, most)
            if not chunk.refs:
                raise Retryable(f"{job.journal.path}: lines that were on the disk are gone")
            await asyncio.gather(*(self._outbox.deliver(topics.LIVE.name, ref) for ref in chunk.refs))
            metrics.PUBLISHED.labels(Lane.LIVE.value).inc(len(chunk.refs))
            faults.reach("carry.2")
            # 3. The cursor, which is never ahead of an acknowledgement. Killed after it: nothing is repeated.
            job.published = chunk.after
            await asyncio.to_thread(cursor.write, cursor.live_path(self._settings.cursors, job.id), job.published)
            faults.reach("carry.3")
        if job.record.stage is Stage.OPEN and self._journal.is_over(job):
            # 4. The end, written down before it is told: from here on no image comes to this job. Killed after it: the
            #    next start goes on here.
            await self._journal.close(job)
            faults.reach("carry.4")
            if job.unpublished:
                return  # one came just before: the next round
        if job.record.stage is Stage.SEALING and self._journal.find(job.id):
            # 5. The seal: all is acknowledged. Killed after it: it is sent again, the same bytes.
            await self._send_spec(job.record.spec)
            faults.reach("carry.5")
            # 6. The same on the disk. Killed after it: nothing is left to do.
            await self._journal.set_sealed(job)
            await asyncio.to_thread(cursor.remove, cursor.live_path(self._settings.cursors, job.id))
            faults.reach("carry.6")
            log.get_logger().info("live job sealed", job=job.id, images=job.record.spec.total)
        if self._journal.is_stale(job):
            await self._journal.forget(job)

    async def _send_spec(self, spec: JobSpec) -> None:
        await self._outbox.deliver(topics.JOBS.name, messages.encode(spec), spec.job.encode())


def _as_opened(spec: JobSpec) -> JobSpec:
    """The spec as it was before the seal: that may not stand in Kafka before the last reference does."""
    return msgspec.structs.replace(spec, images=0, total=None, manifest_sha256="", failed=None)
