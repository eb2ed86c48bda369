"""What streams and webhooks share: the jobs, their ends, and the log of results with its past."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from notifier.job_sequence import Key, SeriesJobs
from notifier.past import Past
from notifier.tail import Tail
from trapstream.core import kafka
from trapstream.core.jobs import EndedJobs, JobTable
from trapstream.core.messages import JobSpec


class Hub:
    """One a process. `run` keeps it."""

    def __init__(self, servers: str) -> None:
        self.on_spec: Callable[[JobSpec], None] = lambda _: None
        """Called with each job's newest spec."""
        self.jobs = JobTable(servers, self._add_spec)
        self.series = SeriesJobs()
        self.past, self.tail = Past(servers), Tail(servers)
        self.ended = EndedJobs(servers, lambda _: self._wake())
        self.stopping = asyncio.Event()
        """From here on streams and deliveries come to their end."""
        self._ends: dict[str, int] = {}
        self._waiting: set[asyncio.Event] = set()

    def _add_spec(self, spec: JobSpec) -> None:
        self.series.add(spec)
        self.on_spec(spec)
        self._wake()

    async def run(self, ready: asyncio.Event) -> None:
        """Follows Kafka until cancelled; sets `ready` once all is there."""
        await self.tail.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                for body in (self.jobs.run(), self.ended.run(), self.tail.run()):
                    tasks.create_task(body)
                await self.jobs.caught_up.wait()
                await self.ended.caught_up.wait()
                ready.set()
        finally:
            await self.past.close()

    def stop(self) -> None:
        """Has all streams and deliveries come to their end."""
        self.stopping.set()
        self._wake()

    @contextlib.contextmanager
    def waking(self, news: asyncio.Event) -> Iterator[None]:
        """Sets `news` whenever a job is new, changes or ends, and when the process stops."""
        self._waiting.add(news)
        try:
            yield
        finally:
            self._waiting.discard(news)

    def _wake(self) -> None:
        for news in self._waiting:
            news.set()

    async def find_series(self, series: str, seconds: float) -> Sequence[Key]:
        """The jobs of a series, the oldest first, waiting a moment for one on its way; none where there is no such."""
        news = asyncio.Event()
        with self.waking(news), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._known(series) and not self.stopping.is_set():
                    news.clear()
                    await news.wait()
        return self._known(series)

    def _known(self, series: str) -> list[Key]:
        """Without the jobs whose retention is over."""
        return [key for key in self.series.keys(series) if key[1] in self.jobs.specs]

    async def end(self, job: str) -> int | None:
        """The offset before which all results of a job stand that has ended; None while it has not."""
        status = self.ended.jobs.get(job)
        if status is None:
            return None
        if status.cut is not None:
            return status.cut
        if job not in self._ends:
            # It ended when all of its results were folded, so they stand before what is the log's end now.
            self._ends[job] = await self.tail.end(kafka.job_partition(job))
        return self._ends[job]
