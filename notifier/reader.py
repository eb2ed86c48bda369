"""One job's results from an offset on and for ever: from the log while they are old, then as they come.

Whoever falls behind loses nothing and costs no memory: his queue is let go, and he reads from the log again.
"""

import asyncio
import contextlib
from typing import Self

from notifier.past import Past
from notifier.results import Record
from notifier.tail import Ear, Tail


class Reader:
    """A place in a job's results. An asynchronous context, or joined and left by hand."""

    def __init__(self, tail: Tail, past: Past, job: str, place: int | None, news: asyncio.Event) -> None:
        """`place`: the offset to begin at; None: the end of the log. `news`: set when there may be more."""
        self._tail, self._past, self._job = tail, past, job
        self._start = place
        self._ear = Ear(job, news)
        self._until = 0
        """What stands before it is read from the log, what follows comes to the ear."""
        self.place = 0
        """All results before it were given out."""
        self.gap: str | None = None
        """What may be missing before the next results, for whoever takes note of it."""

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    async def join(self) -> None:
        """Begins to listen. Waits for a broker that is away."""
        self._until = await self._tail.join(self._ear)
        self.place = self._until if self._start is None else self._start
        self._check()

    def leave(self) -> None:
        """Listens no more."""
        self._tail.leave(self._ear)

    @property
    def until(self) -> int:
        """What stands before it is read from the log: where a reader that is behind has to come to."""
        return self._until

    @property
    def behind(self) -> bool:
        """Whether results may stand in the log that it has not read yet."""
        return self.place < self._until

    async def some(self, seconds: float) -> list[Record]:
        """The next results, as soon as there are any; none after `seconds` at the latest, or when woken."""
        ear = self._ear
        if not self.behind and not ear.records and not ear.lost:
            ear.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ear.news.wait()
        return await self.there()

    async def there(self) -> list[Record]:
        """The next results that are there already, or the first of them."""
        if self.behind:
            return await self._from_the_log()
        ear = self._ear
        records = [] if ear.lost else ear.take()
        self._until = self._tail.places[ear.part]
        if ear.lost:
            ear.again()
            self._check()
        else:
            self.place = self._until
        return records

    def _check(self) -> None:
        if self.place > self._until:
            self.gap = f"the log ends before offset {self.place}: Kafka has lost results"
            self.place = self._until

    async def _from_the_log(self) -> list[Record]:
        piece = await self._past.read(self._job, self.place, self._until)
        if piece.begin is not None:
            self.gap = f"results before offset {piece.begin} are no longer kept"
        self.place = piece.after
        return piece.records
