"""A cool-down: each camera is told once in so many seconds, by the results' own times. Pure."""

_MOST = 10_000
"""Cameras remembered."""

Times = dict[str | None, float]
"""Camera to a moment, seconds since 1970."""


class Cooling:
    """When each camera rang, in a job and over the jobs of a series."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rang: Times = {}
        """When each was told last, of those that are cooling down."""
        self._came: Times = {}
        """When each would have been told last without a cool-down."""

    def rings(self, camera: str | None, now: float) -> bool:
        """Whether a camera's result of `now` is told. For each one that is asked for, in the order of the log."""
        self._came = self._noted(self._came, camera, now)
        last = self.rang.get(camera)
        if last is not None and self._cools(last, now):
            return False
        self.rang = self._noted(self.rang, camera, now)
        return True

    def turn(self) -> None:
        """Another job of the series begins: what came last of each camera counts as told.

        So what rings in a job depends on the jobs just before it, and not on where in the series a stream began: who
        comes again need not read it all. A camera may be told later for that, once a job, and never sooner.
        """
        self.rang |= self._came

    def _cools(self, last: float, now: float) -> bool:
        # abs: consumers' clocks differ, and one that was years ahead must not silence a camera for years.
        return abs(now - last) < self.seconds

    def _noted(self, times: Times, camera: str | None, now: float) -> Times:
        times[camera] = now
        if len(times) > _MOST:
            times = {name: when for name, when in times.items() if self._cools(when, now)}
            while len(times) > _MOST:
                del times[next(iter(times))]
        return times
