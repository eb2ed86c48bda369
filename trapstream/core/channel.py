"""A bounded channel between two stages, and the statistics that a verdict is made from.

A full channel holds its senders: that is the backpressure. Below it is asyncio's own queue; this one also hands over
what is ready in one call, which batching needs, and counts who waits and for how long.
"""

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from trapstream.core.meters import Span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Statistics:
    """A moment of a channel. Waiting senders name the stage after it, waiting receivers the one before."""

    used: int
    size: int
    senders_waiting: int
    receivers_waiting: int


class Channel(Generic[T]):
    """First in, first out, at most `size` items, for one event loop."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a channel holds at least one item")
        self._queue: asyncio.Queue[T] = asyncio.Queue(size)
        self._senders = self._receivers = 0
        self.full, self.empty = Span(), Span()
        """Time in which a sender waits for space, and in which a receiver waits for an item."""

    async def send(self, item: T) -> None:
        """Adds `item`, waiting for space."""
        if not self._queue.full():
            self._queue.put_nowait(item)
            return
        self._senders += 1
        try:
            with self.full:
                await self._queue.put(item)
        finally:
            self._senders -= 1

    async def receive(self) -> T:
        """The oldest item, waiting for one."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        self._receivers += 1
        try:
            with self.empty:
                return await self._queue.get()
        finally:
            self._receivers -= 1

    async def receive_batch(self, most: int) -> list[T]:
        """At least one item, waiting for it, and what else is ready, `most` together."""
        return [await self.receive(), *self.take_ready(most - 1)]

    def take_ready(self, most: int) -> list[T]:
        """What is ready, `most` together, without waiting."""
        return [self._queue.get_nowait() for _ in range(min(most, self._queue.qsize()))]

    def first(self) -> T:
        """The item that comes next, which stays. IndexError if there is none."""
        item: T = self._queue._queue[0]  # type: ignore[attr-defined]
        return item

    @property
    def is_full(self) -> bool:
        """Whether a sender would wait."""
        return self._queue.full()

    def statistics(self) -> Statistics:
        """How full it is and who waits."""
        return Statistics(self._queue.qsize(), self._queue.maxsize, self._senders, self._receivers)
