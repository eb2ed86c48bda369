"""What streams and webhooks stand on: the jobs, their ends, and the log of results with its past."""

import asyncio
from collections.abc import Callable

from notifier.past import Past
from notifier.reader import Reader
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

    def _on_spec(self, spec: JobSpec) -> None:
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

    async def find(self, job: str, seconds: float) -> JobSpec | None:
        """The job's spec, waiting a moment for one that is on its way; None if there is no such job."""
        return await self.jobs.seen(job, seconds)

    def reader(self, job: str, place: int | None) -> Reader:
        """The job's results from an offset on; None: from now on."""
        return Reader(self._tail, self.past, job, place)

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
