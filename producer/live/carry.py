"""From the journals to `images.live`, and the seal of a job whose period is over."""

import asyncio
import contextlib
import time
from pathlib import Path

import msgspec
from aiokafka.errors import KafkaError

from producer import cursor
from producer.chunks import reference
from producer.live.books import Books
from producer.live.series import LiveJob, Stage
from trapstream.core import faults, log, messages, metrics, retry, topics
from trapstream.core.errors import Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.outbox import Outbox
from trapstream.core.result_store import ManifestLine
from trapstream.core.settings import ProducerSettings

MOST = 500
"""References of one job sent together."""
_EVERY = 0.5
"""Seconds between two looks at the clock."""
_CURSOR_SECONDS = 1.0
"""Between two cursors of a busy job; a death costs the repeats of so long."""

_decoder = msgspec.json.Decoder(ManifestLine)


class Carrier:
    """Publishes what the books have on disk, and ends jobs. One a producer."""

    def __init__(self, settings: ProducerSettings, books: Books, outbox: Outbox, table: JobTable) -> None:
        self._settings, self._books, self._outbox, self._table = settings, books, outbox, table
        self._noted: dict[str, tuple[int, float]] = {}
        """Job to what its cursor says, and when it was written."""

    async def run(self) -> None:
        """Goes round the jobs for ever, until cancelled. A disk or a Kafka that is away is waited for."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: where the event comes with the cancellation, Python 3.11's forgets the latter.
                async with asyncio.timeout(_EVERY):
                    await self._books.written.wait()
            self._books.written.clear()
            await retry.until_back(self.round, "result store")

    async def round(self) -> None:
        """Each job once. Retryable for a disk or a Kafka that refuses."""
        try:
            for series, jobs in list(self._books.jobs.items()):
                for job in list(jobs):
                    await self._carry(series, job)
        except OSError as error:
            raise Retryable(f"{error.filename or 'a disk'}: {error.strerror or error}") from error

    async def finish(self) -> None:
        """The cursors, before the process ends: nothing is published twice then."""
        for jobs in self._books.jobs.values():
            for job in jobs:
                await self._save(job, now=True)

    async def _carry(self, series: str, job: LiveJob) -> None:
        """One job, in steps that a kill may part anywhere."""
        known = self._table.specs.get(job.id)
        if known is not None and (known.cancelled or (known.failed and not job.note.spec.failed)):
            log.get_logger().info("live job stopped by its owner", job=job.id)
            await self._books.close(series, job)
            await self._books.forget(series, job)
            return
        is_open = job.note.stage is Stage.OPEN
        if not job.announced and job.journal.lines and (is_open or job.sent < job.journal.lines):
            # 1. The spec, before the first reference: nobody meets one without its job; and again where it changed.
            #    Killed after it: it is sent again, which changes nothing.
            job.announced = True
            await self._tell(job.note.spec if is_open else _as_opened(job.note.spec))
            faults.reach("carry.1")
        while job.sent < job.journal.lines:
            # 2. The references, acknowledged. Killed after it: the cursor is before them, so they are sent again; the
            #    fold counts the first result.
            refs, after = await asyncio.to_thread(_read, job, job.journal.path)
            await asyncio.gather(*(self._send(ref) for ref in refs))
            metrics.PUBLISHED.labels(Lane.LIVE.value).inc(len(refs))
            faults.reach("carry.2")
            # 3. The cursor, which is never ahead of an acknowledgement. Killed after it: nothing is repeated.
            job.sent, job.offset = job.sent + len(refs), after
            await self._save(job)
            faults.reach("carry.3")
        if job.note.stage is Stage.OPEN and self._books.is_over(job):
            # 4. The end, written down before it is told: from here on no image comes to this job. Killed after it: the
            #    next start goes on here.
            await self._books.close(series, job)
            faults.reach("carry.4")
            if job.sent < job.journal.lines:
                return  # one came just before: the next round
        if job.note.stage is Stage.SEALING and self._books.holds(job.id):
            # 5. The seal: all is acknowledged. Killed after it: it is sent again, the same bytes.
            await self._tell(job.note.spec)
            faults.reach("carry.5")
            # 6. Note that. Killed after it: nothing is left to do.
            await self._books.mark_sealed(job)
            await asyncio.to_thread(cursor.remove, cursor.live_path(self._settings.cursors, job.id))
            faults.reach("carry.6")
            self._noted.pop(job.id, None)
            log.get_logger().info("live job sealed", job=job.id, images=job.note.spec.total)
        if self._books.is_stale(job):
            await self._books.forget(series, job)

    async def _save(self, job: LiveJob, now: bool = False) -> None:
        said, when = self._noted.get(job.id, (0, 0.0))
        soon = not now and time.monotonic() < when + _CURSOR_SECONDS
        if job.note.stage is Stage.SEALED or job.sent == said or soon:
            return
        place = cursor.Cursor(manifest_sha256="", seq=job.sent, offset=job.offset)
        await asyncio.to_thread(cursor.write, cursor.live_path(self._settings.cursors, job.id), place)
        self._noted[job.id] = (job.sent, time.monotonic())

    async def _send(self, ref: bytes) -> None:
        await self._acknowledged(topics.LIVE.name, ref, None)

    async def _tell(self, spec: JobSpec) -> None:
        await self._acknowledged(topics.JOBS.name, messages.encode(spec), spec.job.encode())

    async def _acknowledged(self, topic: str, value: bytes, key: bytes | None) -> None:
        async def send() -> None:
            try:
                await self._outbox.send_and_wait(topic, value, key)
            except KafkaError as error:
                raise Retryable(repr(error)) from error

        await retry.until_back(send, "kafka")


def _as_opened(spec: JobSpec) -> JobSpec:
    """The spec as it was before the seal: that may not stand in Kafka before the last reference does."""
    return msgspec.structs.replace(spec, images=0, total=None, manifest_sha256="", failed=None)


def _read(job: LiveJob, path: Path) -> tuple[list[bytes], int]:
    """The next references of a job, and where the ones after them begin."""
    refs: list[bytes] = []
    offset = job.offset
    with path.open("rb") as file:
        file.seek(offset)
        while len(refs) < min(MOST, job.journal.lines - job.sent):
            line = file.readline()
            refs.append(messages.encode(reference(job.id, job.sent + len(refs), _decoder.decode(line))))
            offset += len(line)
    return refs, offset
