"""One job as a stream tells it: its results from a place on, until the job has ended and all of them were told."""

import asyncio

from notifier import results
from notifier.hub import Hub
from notifier.listening import Listening
from notifier.reader import Reader
from notifier.results import Record, Result
from notifier.resume import Start
from trapstream.core.errors import BadMessage
from trapstream.core.messages import JobSpec, JobStatus


class Telling:
    """Made for each job of a stream; `begin` goes before all else, and `leave` after it."""

    def __init__(self, hub: Hub, spec: JobSpec, listening: Listening, start: Start, *, silent: bool = False) -> None:
        """`silent`: it is heard for its cool-down, and nothing of it is told."""
        self.job, self.silent = spec.job, silent
        self.over = False
        """It has ended, and all of it was told."""
        self._hub, self._spec, self._listening, self._start = hub, spec, listening, start
        self._told = start.told
        self._whole = start == Start(None, 0) and not silent
        self._gap: str | None = None
        self._reader: Reader

    async def begin(self, news: asyncio.Event) -> None:
        """Begins to read. `news`: set when there may be something to tell. Waits for a broker that is away."""
        start = self._start
        only_new = start.now and not self._listening.cooling.seconds
        place = None if only_new else start.place
        if place is None and not only_new:
            place = await self._hub.past.since(self.job, self._spec.created)
        self._reader = self._hub.reader(self.job, place, news)
        await self._reader.join()
        until = self._reader.until
        if start.now:
            self._told = until
        elif self._told > until:
            self._gap = f"the log ends before offset {self._told}: Kafka has lost results"
            self._told = until
        elif place is not None and place > self._told > 0:
            self._gap = f"results before offset {place} are no longer kept"

    def leave(self) -> None:
        """Reads no more."""
        self._reader.leave()

    @property
    def behind(self) -> bool:
        """Whether it is still reading what is there already."""
        return self._reader.behind

    @property
    def ending(self) -> bool:
        """Whether the job has ended."""
        return self._hub.status(self.job) is not None

    @property
    def place(self) -> int:
        """All before this offset was told, now or before."""
        return max(self._reader.place, self._told)

    def gap(self) -> str | None:
        """What may be missing before the next results. It is said once."""
        why, self._gap, self._reader.gap = self._gap or self._reader.gap, None, None
        return None if self.silent else why

    async def some(self) -> list[Result]:
        """The next results to tell, of those that are there; `over` where none follows. Waits for a broker."""
        end = await self._hub.end(self.job)
        records = await self._reader.there()
        self.over = self._reader.place >= end if end is not None else self.silent and not self.behind
        return [result for record in records if (result := self._told_of(record, end)) is not None]

    def status(self) -> JobStatus | None:
        """How it ended."""
        return self._hub.status(self.job)

    def missing(self) -> int:
        """Once it is over: how many of its results are no longer kept."""
        status = self.status()
        return 0 if status is None or not self._whole else max(0, status.counts.done - self._listening.seen.count)

    def _told_of(self, record: Record, end: int | None) -> Result | None:
        if end is not None and record.offset >= end:
            return None  # of a job that was stopped before: it does not count
        try:
            result = results.read(record)
        except BadMessage:
            return None
        heard = self._listening.hears(result)
        return result if heard and not self.silent and record.offset >= self._told else None
