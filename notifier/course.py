"""Which jobs a stream tells, in which order, and the ids of its events: one job, or all of a series."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from notifier import frames, resume, series
from notifier.cooling import Cooling
from notifier.hub import Hub
from notifier.listening import Listening
from notifier.resume import Start
from notifier.series import Key, Part
from notifier.telling import Telling
from trapstream.core import kafka
from trapstream.core.messages import JobSpec, JobStatus, Wish
from trapstream.core.wishes import BadWish, check_categories


class Course(Protocol):
    """What a stream asks."""

    def due(self, telling: Sequence[Telling]) -> Telling | None:
        """The next job to begin beside those that are told, if its time has come."""

    def passed(self, job: str, place: int) -> str:
        """All of the job before an offset is told; the id that says so."""

    def heartbeat(self) -> str | None:
        """The id of what was looked at last."""

    def over(self, job: str) -> None:
        """The job is told whole, or what comes of it is not told any more."""

    def closing(self, status: JobStatus) -> bytes:
        """The event after a job that is over."""

    def warning(self, job: str) -> str | None:
        """What is to be said before a job's results."""

    @property
    def ends(self) -> bool:
        """Whether nothing can follow."""


class OneJob:
    """A job, to its end."""

    def __init__(self, hub: Hub, spec: JobSpec, wish: Wish, start: Start) -> None:
        self._first: Telling | None = Telling(hub, spec, Listening(wish, spec.model), start)
        self._part, self._id = kafka.job_partition(spec.job), ""
        self.ends = False

    def due(self, telling: Sequence[Telling]) -> Telling | None:  # noqa: ARG002 - there is one only
        """As Course."""
        first, self._first = self._first, None
        return first

    def passed(self, job: str, place: int) -> str:  # noqa: ARG002
        """As Course."""
        self._id = resume.event_id(self._part, place - 1) if place > 0 else ""
        return self._id

    def heartbeat(self) -> str | None:
        """As Course."""
        return self._id or None

    def over(self, job: str) -> None:  # noqa: ARG002
        """As Course."""
        self.ends = True

    def closing(self, status: JobStatus) -> bytes:
        """As Course."""
        return frames.end(status)

    def warning(self, job: str) -> str | None:  # noqa: ARG002 - the door has refused what the model does not have
        """As Course."""
        return None


class OneSeries:
    """The jobs of a series, one after the other and for ever.

    The next one begins once those before it have nothing left to tell just now. So what is old comes in order, and a
    job that does not end holds up nobody.
    """

    ends = False

    def __init__(
        self, hub: Hub, name: str, keys: Sequence[Key], wish: Wish, last: series.Last | None, from_now: bool
    ) -> None:
        """`keys`: its jobs. BadId for a `last` id that is none of the series'."""
        self._hub, self._name, self._wish = hub, name, wish
        self._cooling = Cooling(wish.cooldown)
        parts, self._told = series.begin(
            keys, lambda job: hub.status(job) is not None, last, from_now, wish.cooldown, time.time()
        )
        self._queue = deque(parts)
        newest = next(key for key in keys if key[1] == self._told.newest)
        self._met = {key for key in hub.keys(name) if key <= newest}

    def due(self, telling: Sequence[Telling]) -> Telling | None:
        """As Course."""
        if any(each.behind or each.ending for each in telling):
            return None
        while self._queue:
            part = self._queue.popleft()
            spec = self._hub.jobs.specs.get(part.key[1])
            if spec is not None:
                return self._made(spec, part)
            self._told.over(part.key[1])  # its time was over in this moment
        keys = self._hub.keys(self._name)
        while (key := series.following(keys, self._met)) is not None:
            self._met.add(key)
            spec = self._hub.jobs.specs.get(key[1])
            if spec is not None:
                self._told.begun(spec.job, newest=key == max(self._met))
                return self._made(spec, Part(key, Start(None, 0)))
        return None

    def _made(self, spec: JobSpec, part: Part) -> Telling:
        self._cooling.turn()
        listening = Listening(self._wish, spec.model, self._cooling)
        return Telling(self._hub, spec, listening, part.start, silent=part.silent)

    def passed(self, job: str, place: int) -> str:
        """As Course."""
        self._told.passed(job, place)
        return self._told.id

    def heartbeat(self) -> str | None:
        """As Course."""
        return None if self._queue else self._told.id

    def over(self, job: str) -> None:
        """As Course."""
        self._told.over(job)

    def closing(self, status: JobStatus) -> bytes:
        """As Course."""
        return frames.job(status, self._told.id)

    def warning(self, job: str) -> str | None:
        """As Course."""
        spec = self._hub.jobs.specs.get(job)
        try:
            if spec is not None:
                check_categories(self._wish, spec.model.classes)
        except BadWish as error:
            return str(error)
        return None
