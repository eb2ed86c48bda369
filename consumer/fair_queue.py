"""Where both lanes meet before a stage: a bounded channel for each, and the lanes by turns."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from consumer.lanes import Shares
from trapstream.core.channel import Channel
from trapstream.core.messages import Lane

T = TypeVar("T")


class FairQueue(Generic[T]):
    """What is sent is taken in the order of its lane; of the lanes, by their shares. For one event loop."""

    def __init__(self, shares: Shares, size: int, images: Callable[[T], int]) -> None:
        """`size`: items of each lane that may wait. `images`: how many an item is, by which lanes are charged."""
        self.channels = {lane: Channel[T](size) for lane in Lane}
        self._shares, self._images = shares, images
        self._changed = asyncio.Event()

    async def send(self, lane: Lane, *items: T) -> None:
        """Adds items, waiting for space; the takers hear of all that have space at once."""
        channel = self.channels[lane]
        for item in items:
            if channel.is_full:
                self.changed()
            await channel.send(item)
        self.changed()

    def changed(self) -> None:
        """Has those who wait look again: what `counts` or `fits` answers may be another."""
        self._changed.set()

    async def take(
        self, most: int, counts: Callable[[Lane], bool], fits: Callable[[Lane, T], bool]
    ) -> tuple[Lane, list[T]]:
        """At least one item of the lane whose turn it is, and what else is ready of it, `most` together.

        A lane has a turn if it has an item and `counts`. Where its first item does not fit all wait, so that nobody
        slips past for ever.
        """
        while True:
            ready = [lane for lane in Lane if self.channels[lane].statistics().used and counts(lane)]
            if ready:
                lane = self._shares.choose(ready)
                if fits(lane, self.channels[lane].first()):
                    items = self.channels[lane].take_ready(most)
                    self._shares.charge(lane, sum(map(self._images, items)))
                    self.changed()  # it may be the turn of a lane that another one waits for
                    return lane, items
            self._changed.clear()
            await self._changed.wait()
