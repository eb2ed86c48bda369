"""How far publishing may run ahead of the consumers, and how jobs share that. Pure: the clock is a value."""

from collections import deque
from collections.abc import Mapping

_WINDOW = 5.0
"""Seconds that the rate looks back. Consumers commit once a second: over less it would jump."""
_GROWTH = 4
_DECAY = 0.8


class Ahead:
    """The most references of a lane that may wait for its consumers: as many as they take in some seconds.

    A job that comes later waits for these, so they are few; consumers must not run dry, so they are not too few.
    """

    def __init__(self, least: int, seconds: float) -> None:
        """`least` may always wait, `seconds` of work at the rate of the last seconds as well."""
        self._least, self._seconds = least, seconds
        self._looks: deque[tuple[float, int]] = deque()
        self.most = least

    def update(self, now: float, answered: int, backlog: int, used_up: bool) -> int:
        """The new bound, from the sum of the answered offsets and the references that wait.

        `used_up`: jobs have more to publish than they could. If the consumers took what waited and hardly anything is
        left, the bound held them up, and no rate can tell how fast they are: it grows at once. It falls slowly.
        """
        taken = answered - self._looks[-1][1] if self._looks else 0
        while self._looks and self._looks[0][0] < now - _WINDOW:
            self._looks.popleft()
        begin, before = self._looks[0] if self._looks else (now, answered)
        self._looks.append((now, answered))
        rate = max(0, answered - before) / (now - begin) if now > begin else 0.0
        held_up = used_up and backlog <= self.most // 8 and taken >= self.most // 2
        wanted = self.most * (_GROWTH if held_up else _DECAY)
        self.most = max(self._least, round(self._seconds * rate), int(wanted))
        return self.most


def divided(references: float, weights: Mapping[str, float]) -> dict[str, float]:
    """`references` between jobs by their weights."""
    total = sum(weights.values())
    return {job: references * weight / total for job, weight in weights.items()}
