"""The jobs of a series as one stream tells them: in which order, from where on, and the ids of its events. Pure.

An id is JOB:PLACE: all results of the job before that offset of its partition were told, and all of the jobs before it.
Where a job has followed another that has not ended yet, both stand there, with a comma between them; a job before the
last one that is not named was told whole. `JOB:end` is a job that was told whole with none after it.
"""

import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from notifier.resume import END, BadId, Start
from trapstream.core.messages import JobSpec

MOST_TOGETHER = 8
"""Jobs of a series that are told side by side: more that do not end means that something is wrong with the first."""
_PART = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,127}):(\d{1,18}|end)\Z", re.ASCII)

Key = tuple[float, str]
"""When a job was made, and its id: the order of a series."""
Last = Mapping[str, int | None]
"""What an id says: job to the offset before which all was told; None: all of it."""


class Part(NamedTuple):
    """A job that a stream begins to tell."""

    key: Key
    start: Start
    silent: bool = False
    """It is heard for the cool-down alone."""


class Jobs:
    """The jobs of every series, in order."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, list[Key]] = defaultdict(list)
        self._known: set[str] = set()

    def add(self, spec: JobSpec) -> None:
        """Takes note of a job; of one that is known nothing changes."""
        if spec.series is not None and spec.job not in self._known:
            self._known.add(spec.job)
            insort(self._keys[spec.series], (spec.created, spec.job))

    def of(self, series: str) -> Sequence[Key]:
        """All of a series, the oldest first."""
        return self._keys.get(series, ())

    def before(self, spec: JobSpec) -> str | None:
        """The job that a job of a series follows."""
        keys = self.of(spec.series or "")
        place = bisect_left(keys, (spec.created, spec.job))
        return keys[place - 1][1] if place > 0 else None


@dataclass
class Told:
    """How far a stream has come: what its ids are made of."""

    newest: str
    """The last job that it has begun, or does not tell at all."""
    open: dict[str, int] = field(default_factory=dict)
    """Job to the offset before which all is told, of those that were begun and not told whole; in order."""

    def passed(self, job: str, place: int) -> None:
        """All before an offset is told."""
        self.open[job] = place

    def begun(self, job: str, newest: bool) -> None:
        """Another job. `newest`: it is the last one that is known; others may become known late."""
        self.open[job] = 0
        if newest:
            self.newest = job

    def over(self, job: str) -> None:
        """A job is told whole."""
        self.open.pop(job, None)

    @property
    def id(self) -> str:
        """The id of the event that was told last."""
        parts = [f"{job}:{place}" for job, place in self.open.items()]
        if self.newest not in self.open:
            parts.append(f"{self.newest}:{END}")
        return ",".join(parts)


def read(last: str) -> Last:
    """What an id says. BadId."""
    matches = [_PART.match(part) for part in last.split(",", MOST_TOGETHER + 1)]
    found = {match[1]: None if match[2] == END else int(match[2]) for match in matches if match is not None}
    if len(found) < len(matches) or len(found) > MOST_TOGETHER + 1:
        raise bad_id()
    return found


def bad_id() -> BadId:
    """What is said of an id that is none of the series'."""
    return BadId("Last-Event-ID is the id of an event of this series, such as ridge-2026-11-23:1742")


def begin(
    keys: Sequence[Key], ended: Callable[[str], bool], last: Last | None, from_now: bool, cooldown: float, now: float
) -> tuple[list[Part], Told]:
    """The parts that a stream begins with, in order, and how far it has come. What follows are the jobs after these.

    `keys`: all jobs of the series, at least one. Without a last id it begins with the newest job, unless that has
    ended: then with the next one. From now on: what still comes of all that have not ended. `cooldown` and `now`:
    seconds. With a cool-down each part is heard from its beginning, and so are the jobs of before whose cameras may be
    cooling down still. BadId for a job that is none of the series'.
    """
    if last is not None:
        if not last.keys() <= {job for _, job in keys}:
            raise bad_id()
        named = [key for key in keys if key[1] in last]
        newest = named[-1]
        places = [(key, place) for key in named if (place := last[key[1]]) is not None]
        parts = [Part(key, Start(None if cooldown else place or None, place)) for key, place in places]
    else:
        newest = keys[-1]
        places = []
        if from_now:
            parts = [Part(key, Start(None, 0, now=True)) for key in keys[-MOST_TOGETHER:] if not ended(key[1])]
        else:
            parts = [Part(newest, Start(None, 0))] if not ended(newest[1]) else []
    told = Told(newest[1], {key[1]: 0 for key, _, _ in parts} | {key[1]: place for key, place in places})
    if cooldown:
        told_parts = {part.key for part in parts}
        first = next((key[0] for key in keys if key in told_parts or key > newest), now)
        whole = [key for key in keys if key <= newest and key not in told_parts]
        parts = sorted([*parts, *(Part(key, Start(None, 0), silent=True) for key in _cooling(whole, first - cooldown))])
    return parts, told


def following(keys: Sequence[Key], met: Collection[Key]) -> Key | None:
    """The next job that a stream begins, of all of the series; None where it has met them all.

    `met`: those that it has begun, or does not tell. Jobs may become known in another order than they were made in: so
    none is left out for having come late.
    """
    return next((key for key in keys if key not in met), None) if len(keys) > len(met) else None


def _cooling(keys: Sequence[Key], moment: float) -> Sequence[Key]:
    """Of jobs that follow each other those with results of a moment and later: from the last one made before it on."""
    return keys[max(0, bisect_right(keys, (moment, "")) - 1) :]
