"""The books of all live series: one writer, which gives each image its place and has it on disk before it says so.

Many uploads share one sync: while one group is written, the next one gathers.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from producer import cursor
from producer.live import periods
from producer.live.series import (
    Arrival,
    LiveJob,
    Note,
    Placed,
    Stage,
    note_path,
    opened,
    read_notes,
    sealed,
    write_note,
)
from trapstream.core import event_filter, faults, log
from trapstream.core.errors import TrapstreamError
from trapstream.core.event_filter import BadFilter
from trapstream.core.messages import JobSpec, Lane, Webhook
from trapstream.core.result_store import ManifestLine, manifest_path
from trapstream.core.settings import ProducerSettings
from trapstream.models import bundle_store


class Refused(TrapstreamError):
    """The image could not be taken, and nothing of it is kept. The text says why; try again later."""


class _Waiting(NamedTuple):
    arrivals: Sequence[Arrival]
    webhook: Webhook | None
    answer: asyncio.Future[list[Placed]]


class Books:
    """Every series' jobs. `accept` may be called many times at once; `run` does the work."""

    def __init__(self, settings: ProducerSettings, known: Callable[[str], bool]) -> None:
        """`known`: whether Kafka has a job of that id."""
        self._settings, self._known = settings, known
        self._zone = periods.zone_of(settings.live_zone)
        self._pending: list[_Waiting] = []
        self._came = asyncio.Event()
        self._turn = asyncio.Lock()
        self.jobs: dict[str, list[LiveJob]] = {}
        """Series to its jobs, the oldest first."""
        self.written = asyncio.Event()
        """Set whenever there may be something to publish or to seal."""

    @property
    def unpublished(self) -> int:
        """Images on disk that Kafka is not known to have, and those that wait to be written."""
        waiting = sum(len(each.arrivals) for each in self._pending)
        return waiting + sum(job.journal.lines - job.sent for jobs in self.jobs.values() for job in jobs)

    def holds(self, job: str) -> bool:
        """Whether the job is one of those that images may still be found in."""
        return any(each.id == job for jobs in self.jobs.values() for each in jobs)

    def ids(self) -> frozenset[str]:
        """All of those."""
        return frozenset(each.id for jobs in self.jobs.values() for each in jobs)

    def since(self, place: Placed) -> float | None:
        """From when on the answer to an image that was there before may be found; None for one that is new."""
        if not place.repeated:
            return None
        found = [job for jobs in self.jobs.values() for job in jobs if job.id == place.job]
        return found[0].note.spec.created if found else None

    async def settled(self) -> None:
        """Returns once nothing waits to be written."""
        await self.accept([])

    async def load(self) -> None:
        """Takes up what is written down. OSError, or msgspec.DecodeError for a note that cannot be read."""
        self.jobs.clear()  # of an attempt that a disk cut short
        for note in await asyncio.to_thread(read_notes, self._settings.results):
            job = await asyncio.to_thread(opened, self._settings.results, note)
            place = cursor.read_live(cursor.live_path(self._settings.cursors, job.id))
            job.sent, job.offset = place.seq, place.offset
            if note.stage is Stage.SEALED:
                job.sent = job.journal.lines
            elif job.sent > job.journal.lines or job.offset > job.journal.size:
                log.get_logger().error("journal damaged", job=job.id, lines=job.journal.lines, published=job.sent)
                why = "its journal is damaged: images that were published cannot be read from it"
                job.note = replace(note, spec=replace(note.spec, failed=why), stage=Stage.SEALING)
                job.sent, job.offset = job.journal.lines, job.journal.size
            self.jobs.setdefault(note.spec.series or "", []).append(job)
        self.written.set()

    async def accept(self, arrivals: Sequence[Arrival], webhook: Webhook | None = None) -> list[Placed]:
        """Places the images; returns once they are on disk for good, in the order given. Refused: none counts.

        `webhook`: who is told of their jobs' results from here on. BadFilter: as Refused.
        """
        answer: asyncio.Future[list[Placed]] = asyncio.get_running_loop().create_future()
        self._pending.append(_Waiting(arrivals, webhook, answer))
        self._came.set()
        return await answer

    async def run(self) -> None:
        """Writes what comes, until cancelled; a group that is being written is ended first."""
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

    async def close(self, series: str, job: LiveJob) -> None:
        """Ends a job of a past period: from here on no image is added to it. OSError as the disk gives it."""
        async with self._turn:
            if job.note.stage is Stage.OPEN:
                await self._note(job, sealed(job))
            if not job.journal.lines:  # nothing of it ever came to Kafka
                await self.forget(series, job)

    async def mark_sealed(self, job: LiveJob) -> None:
        """Notes that Kafka has the job's total, and forgets the jobs before it."""
        async with self._turn:
            await self._note(job, replace(job.note, stage=Stage.SEALED))
        jobs = self.jobs[job.note.spec.series or ""]
        for older in jobs[: jobs.index(job)]:
            if older.note.stage is Stage.SEALED:
                await self.forget(job.note.spec.series or "", older)

    async def forget(self, series: str, job: LiveJob) -> None:
        """A job that is done with: its manifest stays."""
        with suppress(ValueError):
            self.jobs[series].remove(job)
        if not self.jobs[series]:
            del self.jobs[series]
        await asyncio.to_thread(note_path(self._settings.results, job.id).unlink, missing_ok=True)
        await asyncio.to_thread(cursor.remove, cursor.live_path(self._settings.cursors, job.id))

    def is_over(self, job: LiveJob) -> bool:
        """Whether a job gets no more images: its period is over, it is full, or another one follows it."""
        jobs = self.jobs[job.note.spec.series or ""]
        return self._label() > job.note.label or job.count >= self._settings.live_most_images or jobs[-1] is not job

    def is_stale(self, job: LiveJob) -> bool:
        """Whether nobody is expected to send an image of a sealed job again: a whole period is over since."""
        before = self._label(time.time() - self._settings.live_period_seconds)
        return job.note.stage is Stage.SEALED and before > job.note.label

    def _label(self, now: float | None = None) -> str:
        moment = time.time() if now is None else now
        return periods.label_of(moment, self._settings.live_period_seconds, self._zone)

    async def _note(self, job: LiveJob, note: Note) -> None:
        await asyncio.to_thread(write_note, self._settings.results, note)
        job.note = note

    async def _write(self, group: Sequence[_Waiting]) -> None:
        """Places and writes a group, in steps that a kill may part anywhere."""
        async with self._turn:
            placed: list[list[Placed]] = []
            lines: dict[int, tuple[LiveJob, list[ManifestLine]]] = {}
            errors: dict[str, TrapstreamError] = {}
            for waiting in group:
                places: list[Placed] = []
                placed.append(places)
                for arrival in waiting.arrivals:
                    try:
                        job = await self._job_for(arrival)
                        if waiting.webhook is not None:
                            await self._tell(job, waiting.webhook)
                    except (OSError, TrapstreamError) as error:
                        errors[arrival.series] = error if isinstance(error, BadFilter) else Refused(_why(error))
                        break
                    place, line = job.place(arrival)
                    places.append(place)
                    if line is not None:
                        lines.setdefault(id(job), (job, []))[1].append(line)
            # 3. The lines, synced. Killed in it: nobody was told; a torn line is cut off at the next start. Killed
            #    after it: the images count. Who sends one again, since no answer came, is given its place.
            failed: dict[str, str] = {}
            await asyncio.gather(*(self._append(job, new, failed) for job, new in lines.values()))
        for waiting, places in zip(group, placed, strict=True):
            if waiting.answer.done():
                continue  # whoever asked has gone; what is written is written
            why = next((failed[place.job] for place in places if place.job in failed), None)
            if why is not None:
                waiting.answer.set_exception(Refused(why))
            elif len(places) < len(waiting.arrivals):
                waiting.answer.set_exception(errors[waiting.arrivals[len(places)].series])
            else:
                waiting.answer.set_result(places)
        self.written.set()

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
            if arrival.key in job.places and not job.note.spec.cancelled:
                return job
        if jobs and jobs[-1].note.stage is Stage.OPEN and not self.is_over(jobs[-1]):
            return jobs[-1]
        if not jobs and len(self.jobs) >= self._settings.live_most_series:
            raise Refused(f"{len(self.jobs):,} jobs are open already, which is the most")
        # 2. The job. Killed after it: it is open and empty, and is forgotten when its period is over.
        job = await asyncio.to_thread(self._open, arrival.series)
        self.jobs.setdefault(arrival.series, []).append(job)
        faults.reach("arrive.2")
        return job

    async def _tell(self, job: LiveJob, webhook: Webhook) -> None:
        """Has the job's results told to a webhook; noted before the image is. OSError; BadFilter."""
        spec = job.note.spec
        if job.note.stage is not Stage.OPEN or webhook in spec.webhooks:
            return
        webhooks = event_filter.with_webhook(spec.webhooks, webhook, spec.model.classes)
        await self._note(job, replace(job.note, spec=replace(spec, webhooks=webhooks)))
        job.announced = False

    def _open(self, series: str) -> LiveJob:
        results, label = self._settings.results, self._label()
        number, id_ = 1, periods.job_id(series, label, 1)
        while manifest_path(results, id_).exists() or note_path(results, id_).exists() or self._known(id_):
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
            created=max([time.time(), *(job.note.spec.created + 0.001 for job in self.jobs.get(series, []))]),
            series=series,
        )
        note = Note(spec, label, Stage.OPEN)
        write_note(results, note)
        return opened(results, note)


def _why(error: OSError | TrapstreamError) -> str:
    return f"the result store cannot be written ({error.strerror})" if isinstance(error, OSError) else str(error)
