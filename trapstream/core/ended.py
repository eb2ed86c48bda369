"""Which jobs have ended, and how: the compacted `job-status` topic, followed."""

import asyncio
from collections.abc import Callable

from trapstream.core import kafka, log, messages, topics
from trapstream.core.errors import BadMessage
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
        async for records in kafka.follow(self._servers, topics.STATUS, self.caught_up):
            for record in records:
                self._take((record.key or b"").decode(errors="replace"), record.value)

    def _take(self, job: str, value: bytes | None) -> None:
        if value is None:  # a tombstone: the job's retention is over
            self.jobs.pop(job, None)
            return
        try:
            status = messages.decode(value, JobStatus)
        except BadMessage as error:
            log.get_logger().error("bad status", job=job, error=str(error))
            return
        if status.state in ENDED:
            self.jobs[status.job] = status
            if self._on_end is not None:
                self._on_end(status)
