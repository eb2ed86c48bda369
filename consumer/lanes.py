"""Reserved shares: which lane's image goes next. Pure.

Triton's own priorities are strict, so steady live traffic would starve a backfill. Stride scheduling (Waldspurger and
Weihl, 1995) gives each lane its share while both have work, and all of it to one while the other is idle.
"""

from collections.abc import Collection

from trapstream.core.messages import Lane


class Shares:
    """The order of lanes under contention. A lane that was idle has saved nothing up."""

    def __init__(self, live: float) -> None:
        if not 0 < live < 1:
            raise ValueError("the live lane's share is between 0 and 1")
        self._stride = {Lane.LIVE: 1 / live, Lane.BULK: 1 / (1 - live)}
        self._passed = dict.fromkeys(Lane, 0.0)
        self._idle: set[Lane] = set(Lane)

    def choose(self, ready: Collection[Lane]) -> Lane:
        """The lane to serve, of those that have an image. ValueError if none has."""
        if not ready:
            raise ValueError("no lane has an image")
        now = min((self._passed[lane] for lane in Lane if lane not in self._idle), default=0.0)
        for lane in ready:
            if lane in self._idle:
                self._passed[lane] = max(self._passed[lane], now)
        self._idle = set(Lane) - set(ready)
        chosen = min(ready, key=lambda lane: (self._passed[lane], lane is Lane.BULK))
        self._passed[chosen] += self._stride[chosen]
        return chosen
