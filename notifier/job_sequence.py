"""Which jobs a stream sends, in which order and from which offset on, and the ids of its events. Pure.

The id of an event in a job's stream is PARTITION:OFFSET of the job's partition of `detections`. It means the same to
every notifier for as long as the log is kept. Each result stands at one offset, so a stream that goes on after an id
leaves out nothing and sends nothing twice.

In a series' stream an id is JOB:OFFSET: all results of the job before that offset were sent, and so were all of the
jobs before it. Where a job has followed another one that has not ended yet, both stand there, with a comma between
them; a job before the last one that is not named was sent whole. `JOB:end` is a job that was sent whole with none
after it.
"""

import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from notifier.event_format import END_ID
from trapstream.core.errors import BadInput
from trapstream.core.messages import JobSpec

MOST_TOGETHER = 8
"""Jobs of a series that are sent side by side: more that do not end mean that something is wrong with the first."""
_JOB_ID = re.compile(r"(\d{1,5}):(\d{1,18})\Z", re.ASCII)
_SERIES_ID = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,127}):(\d{1,18}|end)\Z", re.ASCII)

Key = tuple[float, str]
"""When a job was made, and its id: the order of a series."""
LastId = Mapping[str, int | None]
"""What an id of a series says: job to the offset before which all was sent; None: the whole job."""


class BadId(BadInput):
    """A Last-Event-ID of another stream, and what was expected, in one line."""


class Start(NamedTuple):
    """Where a job begins in a stream."""

    read_from: int | None
    """The offset to read from; None: where the job begins."""
    send_from: int
    """Results before it were sent already: they are read for the cool-down only."""
    now: bool = False
    """Results that are there when the stream begins count as sent."""


class Part(NamedTuple):
    """A job that a stream begins."""

    key: Key
    start: Start
    silent: bool = False
    """It is read for the cool-down only."""

    @property
    def job(self) -> str:
        """The job's id."""
        return self.key[1]


class SeriesJobs:
    """The jobs of every series, in order."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, list[Key]] = defaultdict(list)
        self._known: set[str] = set()

    def add(self, spec: JobSpec) -> None:
        """Adds a job; one that is known is left as it is."""
        if spec.series is not None and spec.job not in self._known:
            self._known.add(spec.job)
            insort(self._keys[spec.series], (spec.created, spec.job))

    def keys(self, series: str) -> Sequence[Key]:
        """All jobs of a series, the oldest first."""
        return self._keys.get(series, ())

    def before(self, spec: JobSpec) -> str | None:
        """The job that a job of a series follows; None where there is none."""
        keys = self.keys(spec.series or "")
        index = bisect_left(keys, (spec.created, spec.job))
        return keys[index - 1][1] if index > 0 else None


class JobSequence:
    """The jobs of a series that one stream sends, one after the other and for ever, and how far it has come."""

    ends = False
    """Whether nothing can follow."""

    def __init__(self, parts: Iterable[Part], offsets: Mapping[str, int], begun: Iterable[Key]) -> None:
        """`parts`: the jobs to begin with. `begun`: these, and those that are not sent; all other jobs follow."""
        self._waiting = deque(parts)
        self._offsets = dict(offsets)
        """Job to the offset before which all was sent, of those that are not sent whole; in order."""
        self._begun = set(begun)
        self._newest = max(self._begun)
        """The last job that was begun, or is not sent at all."""
        self._known = 0
        """Jobs of the series when all of them were begun."""

    def next(self, keys: Sequence[Key]) -> Part | None:
        """The next job; None where none is left. `keys`: all jobs of the series now.

        Jobs may become known in another order than they were made in: none is left out for having come late.
        """
        if self._waiting:
            return self._waiting.popleft()
        if len(keys) == self._known:
            return None
        key = next((key for key in keys if key not in self._begun), None)
        if key is None:
            self._known = len(keys)
            return None
        self._begun.add(key)
        return Part(key, Start(None, 0))

    def begin(self, part: Part) -> None:
        """A job that `next` gave is begun."""
        if not part.silent:
            self._offsets.setdefault(part.job, 0)
            self._newest = max(self._newest, part.key)

    def advance(self, job: str, offset: int) -> str | None:
        """All of a job before an offset was sent; returns the id that says so."""
        self._offsets[job] = offset
        return self.id

    def close(self, job: str) -> None:
        """A job was sent whole, or no more of it is sent."""
        self._offsets.pop(job, None)

    @property
    def id(self) -> str | None:
        """The id of the last event."""
        parts = [f"{job}:{offset}" for job, offset in self._offsets.items()]
        if self._newest[1] not in self._offsets:
            parts.append(f"{self._newest[1]}:{END_ID}")
        return ",".join(parts)

    @property
    def heartbeat_id(self) -> str | None:
        """The id to reconnect with; None while a job waits whose beginning is not known yet."""
        return None if self._waiting else self.id


class SingleJob(JobSequence):
    """One job, to its end."""

    def __init__(self, job: str, partition: int, start: Start) -> None:
        key = (0.0, job)
        super().__init__([Part(key, start)], {job: start.send_from}, {key})
        self._job, self._partition = job, partition

    def close(self, job: str) -> None:
        """The stream ends with its job."""
        super().close(job)
        self.ends = True

    @property
    def id(self) -> str | None:
        """The id of the last event; None before the first one."""
        offset = self._offsets.get(self._job, 0)
        return f"{self._partition}:{offset - 1}" if offset > 0 else None


def job_start(last_id: str | None, partition: int, cools_down: bool, from_now: bool = False) -> Start:
    """Where a job's stream goes on after an id; without one at the job's beginning, or from now on.

    `cools_down`: it has a cool-down. Then the job is read from its beginning again, since the results that were sent
    before decide what may be sent now. BadId.
    """
    if last_id is None or last_id in {"", END_ID}:
        return Start(None, 0, from_now)
    match = _JOB_ID.match(last_id)
    if match is None or int(match[1]) != partition:
        raise BadId(f"Last-Event-ID is the id of an event of this job, such as {partition}:1742")
    after = int(match[2]) + 1
    return Start(None if cools_down else after, after)


def read_series_id(last_id: str) -> LastId:
    """What an id of a series says. BadId."""
    matches = [_SERIES_ID.match(part) for part in last_id.split(",", MOST_TOGETHER + 1)]
    found = {match[1]: None if match[2] == END_ID else int(match[2]) for match in matches if match is not None}
    if len(found) < len(matches) or len(found) > MOST_TOGETHER + 1:
        raise _bad_series_id()
    return found


def series_sequence(
    keys: Sequence[Key], ended: Callable[[str], bool], last: LastId | None, from_now: bool, cooldown: float, now: float
) -> JobSequence:
    """The jobs that a series' stream sends, and from where on.

    `keys`: all jobs of the series, at least one. Without a last id the stream begins with the newest job, unless that
    has ended: then with the next one. `from_now`: with what still comes of all jobs that have not ended. `cooldown`
    and `now`: seconds. With a cool-down each job is read from its beginning, and so are the jobs before it whose
    cameras may be cooling down still. BadId for a job of another series.
    """
    if last is not None:
        if not last.keys() <= {job for _, job in keys}:
            raise _bad_series_id()
        named = [key for key in keys if key[1] in last]
        newest = named[-1]
        offsets = {key[1]: offset for key in named if (offset := last[key[1]]) is not None}
        parts = [
            Part(key, Start(None if cooldown else offsets[key[1]] or None, offsets[key[1]]))
            for key in named
            if key[1] in offsets
        ]
    else:
        newest = keys[-1]
        if from_now:
            parts = [Part(key, Start(None, 0, now=True)) for key in keys[-MOST_TOGETHER:] if not ended(key[1])]
        else:
            parts = [Part(newest, Start(None, 0))] if not ended(newest[1]) else []
        offsets = {part.job: 0 for part in parts}
    sent = {part.key for part in parts}
    if cooldown:
        first = next((key[0] for key in keys if key in sent or key > newest), now)
        whole = [key for key in keys if key <= newest and key not in sent]
        silent = [Part(key, Start(None, 0), silent=True) for key in _with_results_since(whole, first - cooldown)]
        parts = sorted([*parts, *silent])
    return JobSequence(parts, offsets, [key for key in keys if key <= newest])


def _bad_series_id() -> BadId:
    return BadId("Last-Event-ID is the id of an event of this series, such as ridge-2026-11-23:1742")


def _with_results_since(keys: Sequence[Key], moment: float) -> Sequence[Key]:
    """Of jobs that follow each other those with results of a moment and later: from the last one made before it on."""
    return keys[max(0, bisect_right(keys, (moment, "")) - 1) :]
