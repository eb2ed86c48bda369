"""The tables of jobs that services keep: the compacted topics `jobs` and `job-status`, followed."""

import asyncio
import contextlib
from collections.abc import Callable

from trapstream.core import states, status, topics
from trapstream.core.messages import JobSpec, JobStatus

_ABSENT_MOST = 10_000
"""Unknown ids remembered."""


class JobTable:
    """Job id to its newest JobSpec. `run` keeps it; readers look things up."""

    def __init__(self, servers: str, on_change: Callable[[JobSpec], None] | None = None) -> None:
        self._servers = servers
        self._on_change = on_change
        self._changed = asyncio.Event()
        self.specs: dict[str, JobSpec] = {}
        self.caught_up = asyncio.Event()
        """Set once all that stood in the topic at the start has been read."""
        self._absent: set[str] = set()

    async def run(self) -> None:
        """Follows the topic until cancelled."""
        async for batch in status.changes(self._servers, topics.JOBS, JobSpec, self.caught_up):
            for job, spec in batch:
                self._take(job, spec)
            self._changed.set()
            self._changed = asyncio.Event()

    async def find(self, job: str, seconds: float = 10.0) -> JobSpec | None:
        """The job's spec, waiting for one that is on its way; None if there is no such job.

        A spec is acknowledged before the job's first reference is sent, so a reference can be ahead of this table
        only by the time that a read takes. That may be long after a broker's death: so after `seconds` Kafka itself
        is asked, and its answer alone makes a reference one that nobody wants.
        """
        if job in self._absent and job not in self.specs:
            return None  # waited for once already: a flood of such references must not stop the lane
        if await self.seen(job, seconds) is None:
            if (spec := (await status.read_specs(self._servers)).get(job)) is not None:
                self._take(job, spec)
            if job not in self.specs and len(self._absent) < _ABSENT_MOST:
                self._absent.add(job)
        return self.specs.get(job)

    async def seen(self, job: str, seconds: float) -> JobSpec | None:
        """The job's spec as soon as this table has it; None if it has not within `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.caught_up.wait()
                while job not in self.specs:
                    await self._changed.wait()
        return self.specs.get(job)

    def _take(self, job: str, spec: JobSpec | None) -> None:
        if spec is None:
            self.specs.pop(job, None)
            return
        spec = self.specs[job] = states.merged(self.specs.get(job), spec)
        if self._on_change is not None:
            self._on_change(spec)


class EndedJobs:
    """The last statuses of the jobs that have ended. `run` keeps them."""

    def __init__(self, servers: str, on_end: Callable[[JobStatus], None] | None = None) -> None:
        self._servers = servers
        self._on_end = on_end
        self.jobs: dict[str, JobStatus] = {}
        self.caught_up = asyncio.Event()
        """Set once all that stood in the topic at the start has been read."""

    async def run(self) -> None:
        """Follows the topic until cancelled."""
        async for batch in status.changes(self._servers, topics.STATUS, JobStatus, self.caught_up):
            for job, found in batch:
                if found is None:
                    self.jobs.pop(job, None)
                elif found.state in states.ENDED:
                    self.jobs[job] = found
                    if self._on_end is not None:
                        self._on_end(found)
