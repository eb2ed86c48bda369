"""The results of one job that a stream or a webhook sends: from an offset on, until the job has ended."""

import asyncio
from collections.abc import Iterator, Sequence

from notifier import event_format
from notifier.event_format import Record, Result
from notifier.hub import Hub
from notifier.job_filter import JobFilter
from notifier.job_sequence import Start
from notifier.tail import Subscription
from trapstream.core.errors import BadMessage
from trapstream.core.messages import JobSpec


class JobStream:
    """Made for each job; `open` goes before all else, and `close` after it."""

    def __init__(self, hub: Hub, spec: JobSpec, job_filter: JobFilter, start: Start, *, silent: bool = False) -> None:
        """`silent`: it is read for the cool-down, and no result of it is sent."""
        self.job, self.silent = spec.job, silent
        self.over = False
        """The job has ended, and all of its results were read."""
        self._hub, self._spec, self._filter, self._start = hub, spec, job_filter, start
        self._send_from = start.send_from
        self._gap: str | None = None
        self._subscription: Subscription

    async def open(self, news: asyncio.Event) -> None:
        """Begins to read. `news`: set when there may be something to read. Waits for a broker that is away."""
        start, read_from = self._start, self._start.read_from
        if read_from is None and not (start.now and not self._filter.cooldown.seconds):
            read_from = await self._hub.past.offset_at(self.job, self._spec.created)
        self._subscription = Subscription(self._hub.tail, self._hub.past, self.job, read_from, news)
        await self._subscription.open()
        log_end = self._subscription.queue_begin
        if start.now:
            self._send_from = log_end
        elif self._send_from > log_end:
            self._gap = f"the log ends before offset {self._send_from}: Kafka has lost results"
            self._send_from = log_end
        elif read_from is not None and read_from > self._send_from > 0:
            self._gap = f"results before offset {read_from} are no longer kept"

    def close(self) -> None:
        """Reads no more."""
        self._subscription.close()

    @property
    def behind(self) -> bool:
        """Whether it is still reading the log's past."""
        return self._subscription.behind

    @property
    def idle(self) -> bool:
        """Whether there is nothing to read just now."""
        return self._subscription.idle

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.job in self._hub.ended.jobs

    @property
    def offset(self) -> int:
        """All results before it were sent, now or before."""
        return max(self._subscription.offset, self._send_from)

    async def read(self) -> Iterator[Result]:
        """The next results to send, of those that are there. Waits for a broker that is away.

        Each one passes the filter when it is taken from the iterator, and not before.
        """
        end = await self._hub.end(self.job)
        records = await self._subscription.read()
        self.over = self._subscription.offset >= end if end is not None else self.silent and not self.behind
        return self._filtered(records, end)

    def take_gap(self) -> str | None:
        """Why results may be missing before those that were read last. It is said once."""
        why, self._gap, self._subscription.gap = self._gap or self._subscription.gap, None, None
        return None if self.silent else why

    def missing(self) -> int:
        """How many results of a job that is over are no longer kept, if all of them were to be sent."""
        status = self._hub.ended.jobs.get(self.job)
        whole = self._start == Start(None, 0) and not self.silent
        return max(0, status.counts.done - self._filter.seen.count) if whole and status is not None else 0

    def _filtered(self, records: Sequence[Record], end: int | None) -> Iterator[Result]:
        for record in records:
            if end is not None and record.offset >= end:
                return  # of a job that was stopped before: it does not count
            try:
                result = event_format.read(record)
            except BadMessage:
                continue
            if self._filter.accept(result) and not self.silent and record.offset >= self._send_from:
                yield result
