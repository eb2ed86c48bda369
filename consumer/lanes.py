"""Live overtakes bulk here: reserved shares say which lane goes next, and how deep images queue at the detector. Pure.

Triton's own priorities are strict, so steady live traffic would starve a backfill. Start-time fair queueing (Goyal,
Vin and Cheng, 1996) gives each lane its share while both have work, and all of it to one while the other is idle.
"""

from collections.abc import Collection
from typing import NamedTuple

from trapstream.core.messages import Lane

MOST_SECONDS = 0.3
"""Work that may stand before each instance of a model."""


class Shares:
    """The order of lanes under contention. A lane that was idle has next to nothing saved up."""

    def __init__(self, live: float, memory: int = 0) -> None:
        """`live`: its share, more than 0 and less than 1. `memory`: how many images may be owed to a lane that had none
        for a moment."""
        self._stride = {Lane.LIVE: 1 / live, Lane.BULK: 1 / (1 - live)}
        self._memory = memory
        self._passed = dict.fromkeys(Lane, 0.0)
        self._now = 0.0
        """What the lane that was served last had passed before: a lane that comes back begins here."""

    def choose(self, ready: Collection[Lane]) -> Lane:
        """The lane to serve, of those that have an image: at least one."""
        for lane in ready:
            self._passed[lane] = max(self._passed[lane], self._now - self._memory * self._stride[lane])
        return min(ready, key=lambda lane: (self._passed[lane], lane is Lane.BULK))

    def charge(self, lane: Lane, images: int) -> None:
        """The lane that was chosen had `images` of its own served."""
        self._now = max(self._now, self._passed[lane])
        self._passed[lane] += images * self._stride[lane]


class Depth(NamedTuple):
    """How a model's images go to the server."""

    request: int
    """The most images in a request."""
    in_flight: int
    """Images that may be there at once, over all instances."""


def depth(instances: int, max_batch: int, batch: int, seconds: float) -> Depth:
    """The fewest images that keep `instances` of a model at work, each with batches of at most `max_batch`.

    Where images are quick that is two such batches, one at work and one at hand. Where an instance takes longer for
    them, `seconds` an image, it is as many as it does in a fixed time, in two requests if may be: no instance waits for
    the way there and back. `batch` is how many images a client has together.
    """
    most = 2 * max_batch
    each = most if seconds * most <= MOST_SECONDS else max(1, round(MOST_SECONDS / seconds))
    return Depth(request=min(batch, max_batch, max(1, each // 2)), in_flight=instances * each)
