"""Which jobs have ended, and how: the compacted `job-status` topic, followed."""

import asyncio
from collections.abc import Callable

from trapstream.core import status, topics
from trapstream.core.messages import JobStatus
from trapstream.core.states import ENDED


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
                elif found.state in ENDED:
                    self.jobs[job] = found
                    if self._on_end is not None:
                        self._on_end(found)
