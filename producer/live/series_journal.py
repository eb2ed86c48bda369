"""The journal of all live series: one writer, which gives each image its number and has it on disk before it says so.

Many uploads share one sync: while one group is written, the next one gathers.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from producer import cursor
from producer.cursor import Cursor
from producer.live import periods
from producer.live.live_job import (
    Accepted,
    Arrival,
    JobRecord,
    LiveJob,
    Stage,
    read_records,
    record_path,
    sealed,
    write_record,
)
from trapstream.core import event_filter, faults, log
from trapstream.core.errors import TrapstreamError
from trapstream.core.event_filter import BadFilter
from trapstream.core.messages import JobSpec, Lane, Webhook
from trapstream.core.result_store import ManifestLine, manifest_path
from trapstream.core.settings import ProducerSettings
from trapstream.models import bundle_store

_Lines = dict[str, tuple[LiveJob, list[ManifestLine]]]
"""Job id to the job and its new lines."""


class Refused(TrapstreamError):
    """The image could not be taken, and nothing of it is kept. The text says why; try again later."""


class _Request(NamedTuple):
    arrivals: Sequence[Arrival]
    webhook: Webhook | None
    done: asyncio.Future[list[Accepted]]


class SeriesJournal:
    """Every series' jobs. `accept` may be called many times at once; `run` does the work."""

    def __init__(self, settings: ProducerSettings, known: Callable[[str], bool]) -> None:
        """`known`: whether Kafka has a job of that id."""
        self._settings, self._known = settings, known
        self._zone = periods.zone_of(settings.live_zone)
        self._pending: list[_Request] = []
        self._came = asyncio.Event()
        self._turn = asyncio.Lock()
        self.jobs: dict[str, list[LiveJob]] = {}
        """Series to its jobs, the oldest first."""
        self.written = asyncio.Event()
        """Set whenever there may be something to publish or to seal."""

    def unpublished(self) -> int:
        """Images on disk that Kafka is not known to have, and those that wait to be written."""
        waiting = sum(len(each.arrivals) for each in self._pending)
        return waiting + sum(job.unpublished for jobs in self.jobs.values() for job in jobs)

    def find(self, job: str) -> LiveJob | None:
        """The job, if images may still be found in it."""
        return next((each for jobs in self.jobs.values() for each in jobs if each.id == job), None)

    def ids(self) -> frozenset[str]:
        """All jobs that images may still be found in."""
        return frozenset(each.id for jobs in self.jobs.values() for each in jobs)

    async def flush(self) -> None:
        """Returns once nothing waits to be written."""
        await self.accept([])

    async def load(self) -> None:
        """Reads the jobs that are on the disk. OSError, or msgspec.DecodeError for a record that cannot be read."""
        self.jobs.clear()  # of an attempt that a disk cut short
        for record in await asyncio.to_thread(read_records, self._settings.results):
            job = await asyncio.to_thread(LiveJob, self._settings.results, record)
            job.published = cursor.read(cursor.live_path(self._settings.cursors, job.id))
            end = Cursor(seq=job.journal.lines, offset=job.journal.size)
            if record.stage is Stage.SEALED:
                job.published = end
            elif job.published.seq > end.seq or job.published.offset > end.offset:
                log.get_logger().error("journal damaged", job=job.id, lines=end.seq, published=job.published.seq)
                why = "its journal is damaged: images that were published cannot be read from it"
                job.record = replace(record, spec=replace(record.spec, failed=why), stage=Stage.SEALING)
                job.published = end
            self.jobs.setdefault(job.series, []).append(job)
        self.written.set()

    async def accept(self, arrivals: Sequence[Arrival], webhook: Webhook | None = None) -> list[Accepted]:
        """Takes the images; returns once they are on disk for good, in the order given. Refused: none counts.

        `webhook`: an address that their jobs' results are sent to from here on. BadFilter: as Refused.
        """
        done: asyncio.Future[list[Accepted]] = asyncio.get_running_loop().create_future()
        self._pending.append(_Request(arrivals, webhook, done))
        self._came.set()
        return await done

    async def run(self) -> None:
        """Writes the requests that come, until cancelled; a group that is being written is ended first."""
        while True:
            await self._came.wait()
            self._came.clear()
            group, self._pending = self._pending, []
            work = asyncio.ensure_future(self._write(group))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await work
                raise

    async def close(self, job: LiveJob) -> None:
        """Ends a job of a past period: from here on no image is added to it. OSError as the disk gives it."""
        async with self._turn:
            if job.record.stage is Stage.OPEN:
                await self._save(job, sealed(job))
            if not job.journal.lines:  # nothing of it ever came to Kafka
                await self.forget(job)

    async def set_sealed(self, job: LiveJob) -> None:
        """Writes down that Kafka has the job's total, and forgets the jobs before it."""
        async with self._turn:
            await self._save(job, replace(job.record, stage=Stage.SEALED))
        jobs = self.jobs[job.series]
        for older in jobs[: jobs.index(job)]:
            if older.record.stage is Stage.SEALED:
                await self.forget(older)

    async def forget(self, job: LiveJob) -> None:
        """Removes the record of a job that is done with: its manifest stays."""
        with suppress(ValueError):
            self.jobs[job.series].remove(job)
        if not self.jobs[job.series]:
            del self.jobs[job.series]
        await asyncio.to_thread(record_path(self._settings.results, job.id).unlink, missing_ok=True)
        await asyncio.to_thread(cursor.remove, cursor.live_path(self._settings.cursors, job.id))

    def is_over(self, job: LiveJob) -> bool:
        """Whether a job gets no more images: its period is over, it is full, or another one follows it."""
        is_past, is_full = self._label() > job.record.label, job.count >= self._settings.live_most_images
        return is_past or is_full or self.jobs[job.series][-1] is not job

    def is_stale(self, job: LiveJob) -> bool:
        """Whether nobody is expected to send an image of a sealed job again: a whole period is over since."""
        before = self._label(time.time() - self._settings.live_period_seconds)
        return job.record.stage is Stage.SEALED and before > job.record.label

    def _label(self, now: float | None = None) -> str:
        moment = time.time() if now is None else now
        return periods.label_of(moment, self._settings.live_period_seconds, self._zone)

    async def _save(self, job: LiveJob, record: JobRecord) -> None:
        await asyncio.to_thread(write_record, self._settings.results, record)
        job.record = record

    async def _write(self, group: Sequence[_Request]) -> None:
        """Writes a group, in steps that a kill may part anywhere, and answers its requests, each for itself."""
        async with self._turn:
            lines: _Lines = {}
            outcomes = [await self._add(request, lines) for request in group]
            # 3. The lines, synced. Killed in it: no sender was answered; the next start cuts off a torn line. Killed
            #    after it: the images count. A sender that sends one again, since no answer came, is given its number.
            failed: dict[str, str] = {}
            await asyncio.gather(*(self._append(job, new, failed) for job, new in lines.values()))
        for request, outcome in zip(group, outcomes, strict=True):
            if request.done.done():
                continue  # its sender has gone; the lines that are written stay
            if isinstance(outcome, TrapstreamError):
                request.done.set_exception(outcome)
            elif why := next((failed[each.job] for each in outcome if each.job in failed), None):
                request.done.set_exception(Refused(why))
            else:
                request.done.set_result(outcome)
        self.written.set()

    async def _add(self, request: _Request, lines: _Lines) -> list[Accepted] | TrapstreamError:
        """Gives the images of one request their numbers and puts their lines to `lines`; or none of them, and why."""
        accepted: list[Accepted] = []
        new: list[tuple[LiveJob, ManifestLine]] = []
        try:
            for arrival in request.arrivals:
                job = await self._job_for(arrival)
                if request.webhook is not None:
                    await self._add_webhook(job, request.webhook)
                each, line = job.add(arrival)
                accepted.append(each)
                if line is not None:
                    new.append((job, line))
        except (OSError, TrapstreamError) as error:
            for job, line in reversed(new):
                job.take_back([line])
            return error if isinstance(error, BadFilter) else Refused(_why(error))
        for job, line in new:
            lines.setdefault(job.id, (job, []))[1].append(line)
        return accepted

    async def _append(self, job: LiveJob, lines: list[ManifestLine], failed: dict[str, str]) -> None:
        try:
            await asyncio.to_thread(job.journal.append, lines)
            faults.reach("arrive.3")
        except OSError as error:
            job.take_back(lines)
            failed[job.id] = _why(error)

    async def _job_for(self, arrival: Arrival) -> LiveJob:
        """The job that holds the image already, or the open one, which is made where there is none.

        OSError; TrapstreamError where none can be made.
        """
        jobs = self.jobs.get(arrival.series, [])
        for job in jobs[-2:]:
            if arrival.key in job.images and not job.record.spec.cancelled:
                return job
        if jobs and jobs[-1].record.stage is Stage.OPEN and not self.is_over(jobs[-1]):
            return jobs[-1]
        if not jobs and len(self.jobs) >= self._settings.live_most_series:
            raise Refused(f"{len(self.jobs):,} jobs are open already, which is the most")
        # 2. The job. Killed after it: it is open and empty, and is forgotten when its period is over.
        job = await asyncio.to_thread(self._open, arrival.series)
        self.jobs.setdefault(arrival.series, []).append(job)
        faults.reach("arrive.2")
        return job

    async def _add_webhook(self, job: LiveJob, webhook: Webhook) -> None:
        """Has the job's results sent to a webhook; written down before the image is. OSError; BadFilter."""
        spec = job.record.spec
        if job.record.stage is not Stage.OPEN or webhook in spec.webhooks:
            return
        webhooks = event_filter.with_webhook(spec.webhooks, webhook, spec.model.classes)
        await self._save(job, replace(job.record, spec=replace(spec, webhooks=webhooks)))
        job.announced = False

    def _open(self, series: str) -> LiveJob:
        results, label = self._settings.results, self._label()
        number, id_ = 1, periods.job_id(series, label, 1)
        while manifest_path(results, id_).exists() or record_path(results, id_).exists() or self._known(id_):
            number += 1
            id_ = periods.job_id(series, label, number)
        spec = JobSpec(
            job=id_,
            name=series,
            lane=Lane.LIVE,
            model=bundle_store.find(self._settings.home, self._settings.live_model).card.info,
            threshold=self._settings.live_threshold,
            images=0,
            manifest_sha256="",
            # Later than those before it, whatever the clock says: by this a series' jobs have their order.
            created=max([time.time(), *(job.record.spec.created + 0.001 for job in self.jobs.get(series, []))]),
            series=series,
        )
        record = JobRecord(spec, label, Stage.OPEN)
        write_record(results, record)
        return LiveJob(results, record)


def _why(error: OSError | TrapstreamError) -> str:
    return f"the result store cannot be written ({error.strerror})" if isinstance(error, OSError) else str(error)
