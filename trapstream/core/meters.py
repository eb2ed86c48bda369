"""How long each stage of this process is at work: sums that only grow, and their differences over the last seconds."""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from trapstream.core import log, metrics
from trapstream.core.verdict import Load, StageTotals, Totals, Verdict, between, judge

WINDOW_SECONDS = 20.0
"""What `load` looks back on: long enough for a model that takes a second for an image."""
_LOOK_SECONDS = 1.0
_SAY_SECONDS = 30.0
"""The verdict is logged as often as this while there is work."""
_GROUP = Path("/sys/fs/cgroup")
"""What a container sees of its own control group (version 2)."""


class Span:
    """Seconds, summed over all who are inside at once; `most` of them count. A context manager for one loop."""

    __slots__ = ("_clock", "_inside", "_most", "_since", "_sum")

    def __init__(self, most: int = 1, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._most = clock, most
        self._inside, self._sum, self._since = 0, 0.0, clock()

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(self, *_: object) -> None:
        self._count(-1)

    def begin(self, count: int = 1) -> None:
        """So many more are inside, until an `end`: for what begins and ends in different places."""
        self._count(count)

    def end(self, count: int = 1) -> None:
        """So many less are inside."""
        self._count(-count)

    def set(self, inside: bool) -> None:
        """One is inside, or none."""
        self._count(int(inside) - self._inside)

    def seconds(self) -> float:
        """The sum up to now, with those who are inside."""
        self._count(0)
        return self._sum

    def _count(self, change: int) -> None:
        now = self._clock()
        self._sum += min(self._inside, self._most) * (now - self._since)
        self._since = now
        self._inside += change


class Joint:
    """Seconds in which somebody is inside of every one of its parts."""

    def __init__(self, parts: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._began = clock, clock()
        self._apart = Span(1, clock)
        """While nobody is inside of some part."""
        for _ in range(parts):
            self._apart.begin()

    def part(self) -> Span:
        """One of its parts."""
        return _Part(self._apart, self._clock)

    def seconds(self) -> float:
        """The sum up to now."""
        return self._clock() - self._began - self._apart.seconds()


class _Part(Span):
    __slots__ = ("_apart",)

    def __init__(self, apart: Span, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._apart = apart

    def _count(self, change: int) -> None:
        before = self._inside
        super()._count(change)
        if bool(before) != bool(self._inside):
            (self._apart.end if self._inside else self._apart.begin)()


class Meter:
    """One stage's work: `with meter.work:` around it, `meter.images` counted up."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.work = Span(workers)
        self.held = Span()
        self.images = 0

    def totals(self) -> StageTotals:
        """Since the start."""
        return StageTotals(workers=self.workers, busy=self.work.seconds(), images=self.images, held=self.held.seconds())


class Meters:
    """The stages of one process, and what they did in the last seconds."""

    def __init__(self) -> None:
        self._sources: dict[str, Callable[[], StageTotals]] = {}
        self.starved: Callable[[], float] = lambda: 0.0
        """Seconds in which fetch waited for references."""
        self._seen: deque[Totals] = deque()

    @property
    def measured(self) -> bool:
        """Whether there is any stage."""
        return bool(self._sources)

    def stage(self, name: str, workers: int = 1) -> Meter:
        """The meter of a new stage; `name` is one of `verdict.KINDS`."""
        meter = Meter(workers)
        self.add(name, meter.totals)
        return meter

    def add(self, name: str, totals: Callable[[], StageTotals]) -> None:
        """A stage that is measured elsewhere."""
        self._sources[name] = totals

    def totals(self) -> Totals:
        """Since the start."""
        cores, busy = busy_seconds()
        return Totals(
            at=time.monotonic(),
            stages={name: source() for name, source in self._sources.items()},
            starved=self.starved(),
            cores=cores,
            processor=busy,
        )

    async def watch(self) -> None:
        """Says by metric, and now and then by log, what limits: for ever, until cancelled."""
        said = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            verdict = self.look()
            named = verdict is not None and verdict.limits != "nothing"
            if verdict is not None and named and time.monotonic() >= said + _SAY_SECONDS:
                said = time.monotonic()
                log.get_logger().info("verdict", limits=verdict.limits, text=verdict.sentence)

    def look(self) -> Verdict | None:
        """The verdict on the last seconds, which becomes a metric too."""
        now = self.totals()
        self._seen.append(now)
        while len(self._seen) > 2 and self._seen[1].at <= now.at - WINDOW_SECONDS:
            self._seen.popleft()
        load = self.load()
        verdict = judge(load)
        for stage in load.stages if load is not None else ():
            metrics.STAGE_BUSY.labels(stage.name).set(stage.busy)
            metrics.STAGE_WORKERS.labels(stage.name).set(stage.workers)
        for name in (*self._sources, "publish", "processor"):
            metrics.LIMITS.labels(name).set(1 if verdict is not None and verdict.limits == name else 0)
        return verdict

    def load(self) -> Load | None:
        """The last seconds, up to the last look."""
        return between(self._seen[0], self._seen[-1]) if self._seen else None


def busy_seconds(group: Path = _GROUP) -> tuple[float, float]:
    """The cores that this process may use, and the seconds in which they were busy, summed over them: of the container
    where it is limited, else of the machine."""
    allowed = os.sched_getaffinity(0)
    quota = _quota(group)
    if quota is not None and quota[0] < len(allowed):
        return quota
    busy = 0.0
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        if number in allowed:
            busy += sum(times) - times.idle - times.iowait - times.guest - times.guest_nice  # a guest's are user's too
    return float(len(allowed)), busy


def _quota(group: Path) -> tuple[float, float] | None:
    """The group's limit in cores and its use in seconds; None where it has no limit."""
    with contextlib.suppress(OSError, ValueError):
        most, period = (group / "cpu.max").read_text().split()
        used = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        return int(most) / int(period), int(used["usage_usec"]) / 1e6
    return None
