"""A bounded channel between two stages, and the statistics that a verdict is made from.

A full channel holds its senders: that is the backpressure. anyio's memory streams have the same idea and the same
four figures; this one also hands over what is ready in one call, which batching needs.
"""

import asyncio
from collections import deque
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
        self._size = size
        self._items: deque[T] = deque()
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receivers: deque[asyncio.Future[None]] = deque()
        self.full, self.empty = Span(), Span()
        """Time in which a sender waits for space, and in which a receiver waits for an item."""

    async def send(self, item: T) -> None:
        """Adds `item`, waiting for space."""
        while len(self._items) >= self._size:
            await self._wait(self._senders, self.full)
        self._items.append(item)
        _wake(self._receivers)

    async def receive(self) -> T:
        """The oldest item, waiting for one."""
        while not self._items:
            await self._wait(self._receivers, self.empty)
        return self._take()

    async def receive_batch(self, most: int) -> list[T]:
        """At least one item, waiting for it, and what else is ready, `most` together."""
        return [await self.receive(), *self.take_ready(most - 1)]

    def take_ready(self, most: int) -> list[T]:
        """What is ready, `most` together, without waiting."""
        return [self._take() for _ in range(min(most, len(self._items)))]

    def first(self) -> T:
        """The item that comes next, which stays. IndexError if there is none."""
        return self._items[0]

    @property
    def is_full(self) -> bool:
        """Whether a sender would wait."""
        return len(self._items) >= self._size

    def statistics(self) -> Statistics:
        """How full it is and who waits."""
        return Statistics(len(self._items), self._size, _alive(self._senders), _alive(self._receivers))

    def _take(self) -> T:
        item = self._items.popleft()
        _wake(self._senders)
        return item

    async def _wait(self, waiting: deque[asyncio.Future[None]], span: Span) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        try:
            with span:
                await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                _wake(waiting)  # the wake-up was for us and we leave: pass it on, or another waits for ever
            raise


def _wake(waiting: deque[asyncio.Future[None]]) -> None:
    while waiting:
        future = waiting.popleft()
        if not future.done():
            future.set_result(None)
            return


def _alive(waiting: deque[asyncio.Future[None]]) -> int:
    return sum(not future.done() for future in waiting)
