"""What streams and webhooks stand on: the jobs, their ends, and the log of results with its past."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from notifier.past import Past
from notifier.reader import Reader
from notifier.series import Jobs, Key
from notifier.tail import Tail
from trapstream.core import kafka
from trapstream.core.ended import EndedJobs
from trapstream.core.jobs import JobTable
from trapstream.core.messages import JobSpec, JobStatus


class Hub:
    """One a process. `run` keeps it."""

    def __init__(self, servers: str) -> None:
        self.on_spec: Callable[[JobSpec], None] = lambda _: None
        """Told of each job's newest spec."""
        self.jobs = JobTable(servers, self._on_spec)
        self.past = Past(servers)
        self.stopping = asyncio.Event()
        """From here on streams and deliveries come to their end."""
        self._tail = Tail(servers)
        self._ended = EndedJobs(servers, lambda status: self._tail.wake(status.job))
        self._ends: dict[str, int] = {}
        self._series = Jobs()
        self._watching: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def _on_spec(self, spec: JobSpec) -> None:
        self._series.add(spec)
        for news in self._watching.get(spec.series or "", ()):
            news.set()
        self.on_spec(spec)

    async def run(self, ready: asyncio.Event) -> None:
        """Follows Kafka until cancelled; sets `ready` once all is there."""
        await self._tail.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                for body in (self.jobs.run(), self._ended.run(), self._tail.run()):
                    tasks.create_task(body)
                await self.jobs.caught_up.wait()
                await self._ended.caught_up.wait()
                ready.set()
        finally:
            await self.past.close()

    def stop(self) -> None:
        """Has all who listen come to their end."""
        self.stopping.set()
        self._tail.wake_all()
        for watching in self._watching.values():
            for news in watching:
                news.set()

    async def find(self, job: str, seconds: float) -> JobSpec | None:
        """The job's spec, waiting a moment for one that is on its way; None if there is no such job."""
        return await self.jobs.seen(job, seconds)

    async def find_series(self, series: str, seconds: float) -> Sequence[Key]:
        """The jobs of a series, the oldest first, waiting a moment for one on its way; none where there is no such."""
        with self.watched(series) as news, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._known(series) and not self.stopping.is_set():
                    news.clear()
                    await news.wait()
        return self._known(series)

    def _known(self, series: str) -> list[Key]:
        return [key for key in self._series.of(series) if key[1] in self.jobs.specs]

    def keys(self, series: str) -> Sequence[Key]:
        """The jobs of a series, the oldest first, also those whose time is over meanwhile."""
        return self._series.of(series)

    def before(self, spec: JobSpec) -> str | None:
        """The job that a job of a series follows; None where there is none."""
        return self._series.before(spec)

    @contextlib.contextmanager
    def watched(self, series: str, news: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """An event that is set whenever a job of a series is new or changes."""
        event = asyncio.Event() if news is None else news
        self._watching[series].add(event)
        try:
            yield event
        finally:
            self._watching[series].discard(event)
            if not self._watching[series]:
                del self._watching[series]

    def reader(self, job: str, place: int | None, news: asyncio.Event | None = None) -> Reader:
        """The job's results from an offset on; None: from now on. `news`: set when there may be more."""
        return Reader(self._tail, self.past, job, place, asyncio.Event() if news is None else news)

    def status(self, job: str) -> JobStatus | None:
        """How the job ended; None while it has not."""
        return self._ended.jobs.get(job)

    async def end(self, job: str) -> int | None:
        """The offset before which all results of a job stand that has ended; None while it has not."""
        status = self.status(job)
        if status is None:
            return None
        if status.cut is not None:
            return status.cut
        if job not in self._ends:
            # It ended when all of its results were folded, so they stand before what is the log's end now.
            self._ends[job] = await self._tail.end(kafka.job_partition(job))
        return self._ends[job]
