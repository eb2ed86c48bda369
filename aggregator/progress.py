"""How far a job is, as its users see it: counts, rate, predicted finish. Pure: the clock is a value."""

from collections import deque
from dataclasses import dataclass, field

from trapstream.core.messages import Counts, JobSpec, JobStatus
from trapstream.core.states import expected, images_of, state_of

WINDOW = 10.0
"""Seconds that the rate looks back."""


@dataclass(slots=True)
class Progress:
    """What changes of a job between two reports."""

    counts: Counts = field(default_factory=Counts)
    """As committed to the store."""
    repeated: int = 0
    window: deque[tuple[float, int]] = field(default_factory=deque)
    """(when, images that got their entry then), the last seconds of them."""
    changed: bool = True
    """There is something to report."""
    message: str | None = None
    """What is wrong, for the user."""
    last: float = 0.0
    """When the last new result came."""

    def add(self, fresh: int, now: float) -> None:
        """Takes note of `fresh` images that got their entry."""
        self.changed = True
        if fresh:
            self.window.append((now, fresh))
            self.last = now

    def rate(self, now: float) -> float:
        """Images a second over the last WINDOW seconds, or over the time since the first of them."""
        while self.window and self.window[0][0] <= now - WINDOW:
            self.window.popleft()
        if not self.window:
            return 0.0
        return sum(fresh for _, fresh in self.window) / max(now - self.window[0][0], 1.0)


def status_of(
    spec: JobSpec, progress: Progress, now: float, waits: str | None = None, written: bool = False
) -> JobStatus:
    """The report of a job. `now`: seconds since 1970. `waits`: what its store is waited for.

    `written`: it has ended, and its file is in the result store.
    """
    account = progress.counts
    rate = progress.rate(now)
    left = images_of(spec, account.done) - account.done
    return JobStatus(
        job=spec.job,
        state=state_of(spec, account.done, written),
        total=spec.total,
        images=expected(spec),
        counts=account,
        repeated=progress.repeated,
        rate=round(rate, 1),
        finish=round(now + left / rate, 1) if rate > 0 and left > 0 else None,
        updated=round(now, 3),
        message=waits or progress.message,
    )
