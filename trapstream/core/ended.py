"""Which jobs have ended: the compacted `job-status` topic, followed."""

import asyncio

from trapstream.core import kafka, log, messages, topics
from trapstream.core.errors import BadMessage
from trapstream.core.messages import JobStatus
from trapstream.core.states import ENDED


class EndedJobs:
    """The ids of the jobs that have ended. `run` keeps them."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self.jobs: set[str] = set()
        self.caught_up = asyncio.Event()
        """Set once all that stood in the topic at the start has been read."""

    async def run(self) -> None:
        """Follows the topic until cancelled."""
        async for records in kafka.follow(self._servers, topics.STATUS, self.caught_up):
            for record in records:
                self._take((record.key or b"").decode(errors="replace"), record.value)

    def _take(self, job: str, value: bytes | None) -> None:
        if value is None:  # a tombstone: the job's retention is over
            self.jobs.discard(job)
            return
        try:
            status = messages.decode(value, JobStatus)
        except BadMessage as error:
            log.get_logger().error("bad status", job=job, error=str(error))
            return
        if status.state in ENDED:
            self.jobs.add(status.job)
