"""Live images beside a backfill: how long they take, what they cost it, and whether a flood of them leaves its share.

Each round has all the situations one after the other on one stack, so that a ratio compares neighbours in time.
"""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean

from bench import load
from bench.cameras import Answered, listening, offered
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import FILLING, Bench, BenchError
from bench.trickle import trickle
from trapstream.core import status as statuses
from trapstream.core.messages import JobSpec, JobStatus, Lane, ModelInfo
from trapstream.core.settings import ConsumerSettings
from trapstream.core.states import ENDED

RATE = 2.0
"""Live images a second, where no other rate is asked for."""
SLOWER = 2.0
"""The slowest live images may take at most this many times as long beside a backfill."""
KEPT = 0.9
"""The share of its rate that a backfill must keep beside live images, their own number apart."""
FLOOD = 3.0
"""The rate of live images in a flood, in units of the rate that the machine can do."""
WITHIN = 0.9
"""The share of its part that a backfill must get in a flood."""
_SERIES = "bench"
_SETTLE = 6.0
"""Seconds until a change of the load has come through all stages."""
_PATIENCE = 180.0

ALONE, BACKFILLED = "live alone", "beside a backfill"


@dataclass
class _Found:
    """Round by round."""

    rate: float
    """Live images a second."""
    answers: dict[str, list[list[Answered]]] = field(default_factory=lambda: defaultdict(list))
    events: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from when an image was due to its event."""
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def runs(self, name: str) -> Runs:
        return Runs(tuple(self.values[name]))


def live(plan: Plan, bench: Bench, model: ModelInfo, rate: float = RATE) -> list[Record]:
    """All of it, with `rate` live images a second. `bench` has all services."""
    found = _Found(rate)
    for number in range(plan.pick(1, 3)):
        plan.progress("live images", number + 1)
        asyncio.run(_round(plan, bench, model, found, random.Random(number)))
    return _records(found)


async def _round(plan: Plan, bench: Bench, model: ModelInfo, found: _Found, chance: random.Random) -> None:
    photos, api = load.uris(plan.images, plan.say), bench.stack.endpoints["api"]
    seconds = plan.pick(6.0, 40.0)
    # The warm-up: the day's job is made with its first image.
    job = (await offered(api, _SERIES, photos, found.rate, 2.0, chance))[0].image.rpartition("/")[0]
    async with listening(bench.stack.endpoints["events"], job) as times:

        async def cameras(where: str) -> None:
            answers = await offered(api, _SERIES, photos, found.rate, seconds, chance)
            found.answers[where].append(answers)
            found.events[where].append([await times.time(one.image) - one.due for one in answers])

        await cameras(ALONE)
        await _backfilled(plan, bench, model, found, lambda: cameras(BACKFILLED))


async def _backfilled(
    plan: Plan, bench: Bench, model: ModelInfo, found: _Found, cameras: Callable[[], Awaitable[None]]
) -> None:
    photos, seconds = load.uris(plan.images, plan.say), plan.pick(6.0, 40.0)
    manifest = load.write_manifest(plan.work / "backfill.jsonl", photos, plan.pick(20_000, 100_000))
    async with _progress(bench, await bench.submit(manifest, model)) as backfill:
        await backfill.settled()
        without = await backfill.rate(seconds / 2)
        beside = asyncio.create_task(backfill.rate(seconds))
        await cameras()
        with_live = await beside
        if not plan.quick:
            await asyncio.sleep(_SETTLE)
            without = mean((without, await backfill.rate(seconds / 2)))
        found.values["without"].append(without)
        found.values["with"].append(with_live)
        found.values["kept"].append(with_live / (without - found.rate))
        async with trickle(bench, photos, model, FLOOD * without, Lane.LIVE) as spec, _progress(bench, spec) as flood:
            await flood.begun()
            bulk, urgent = await asyncio.gather(backfill.rate(seconds), flood.rate(seconds))
        found.values["share"].append(bulk / (bulk + urgent))
        found.values["flooded"].append(bulk + urgent)


class _Progress:
    """A job's count as the aggregator tells it, by the aggregator's clock."""

    def __init__(self) -> None:
        self._status: JobStatus | None = None
        self._news = asyncio.Event()

    def take(self, status: JobStatus) -> None:
        self._status = status
        self._news.set()

    async def settled(self) -> None:
        """Returns some seconds after it has begun."""
        await self.begun()
        await asyncio.sleep(_SETTLE)

    async def begun(self) -> None:
        """Returns once images are done that were not in hand when it came."""
        while (await self._next()).counts.done < FILLING:
            pass

    async def rate(self, seconds: float) -> float:
        """Images a second from now on."""
        begin = await self._next()
        await asyncio.sleep(seconds)
        end = await self._next()
        if end.state in ENDED:
            raise BenchError("the backfill ended before it was measured; this machine needs a longer one")
        return (end.counts.done - begin.counts.done) / max(end.updated - begin.updated, 1e-6)

    async def _next(self) -> JobStatus:
        self._news.clear()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._news.wait()
        except TimeoutError:
            raise BenchError(f"a job got no further for {_PATIENCE:.0f} s") from None
        assert self._status is not None
        return self._status


@contextlib.asynccontextmanager
async def _progress(bench: Bench, spec: JobSpec) -> AsyncIterator[_Progress]:
    """The progress of a job that is cancelled afterwards; it has ended then."""
    progress = _Progress()

    async def follow() -> None:
        async for status in statuses.watch(bench.kafka, spec.job):
            progress.take(status)

    following = asyncio.create_task(follow())
    try:
        yield progress
    finally:
        following.cancel()
        await bench.cancelled(spec)


def _records(found: _Found) -> list[Record]:
    made = []
    for where in (ALONE, BACKFILLED):
        rounds = found.answers[where]
        stages = _stages([one for each in rounds for one in each])
        for part, name in ((0.5, "p50"), (0.99, "p99")):
            runs = Runs(tuple(1000 * quantile(each, part) for each in found.events[where]))
            what = f"upload to event, {found.rate:g}/s {where}, {name}"
            made.append(record("live", what, runs, "ms", images=sum(map(len, rounds)), stages_ms=stages))
    for part, name, most in ((0.5, "p50", None), (0.99, "p99", SLOWER)):
        pairs = zip(found.events[BACKFILLED], found.events[ALONE], strict=True)
        runs = Runs(tuple(quantile(loaded, part) / quantile(idle, part) for loaded, idle in pairs))
        made.append(record("live", f"upload to event {BACKFILLED} / alone, {name}", runs, "x", at_most=most))
    share = 1 - ConsumerSettings.model_fields["live_share"].get_default()
    made += [
        record("live", "backfill alone", found.runs("without"), "images/s"),
        record("live", f"backfill with {found.rate:g}/s live", found.runs("with"), "images/s"),
        record("live", "backfill with live / alone, less their number", found.runs("kept"), "x", at_least=KEPT),
        record("live", f"both lanes, live offered at {FLOOD:g} x", found.runs("flooded"), "images/s"),
        record(
            "live", f"the backfill's part of {share:.0%}, live offered at {FLOOD:g} x",
            Runs(tuple(value / share for value in found.values["share"])), "x", at_least=WITHIN,
        ),
    ]  # fmt: skip
    return made


def quantile(latencies: Sequence[float], part: float) -> float:
    """Seconds within which this part of the images came."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _stages(answers: Sequence[Answered]) -> dict[str, float]:
    """The mean of each stage."""
    return {stage: round(mean(one.ms[stage] for one in answers), 1) for stage in answers[0].ms}
