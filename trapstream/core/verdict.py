"""What limits the rate, told from how busy each stage is. Pure: values in, one sentence out.

The pipeline is closed: a full channel holds those before it, an empty one those after it. So the stage that limits is
at work all the time, all others wait for it, and each of them could do its rate divided by the share of time that it
is at work (the utilisation law of queueing networks). One more worker helps as far as the next stage lets it, and as
far as the processor has time left: every stage costs time there, and all of it grows with the rate.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

BUSY = 0.85
"""A stage that is at work for this share of the time limits; a start, an end and a garbage collection take the rest."""
HELD = 0.5
"""Work waited for this share of the time: more than chance."""
FULL = 0.93
"""Cores busy for this share of the time have no more to give."""
_WORTH = 1.05


class StageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage did since its process started."""

    workers: int
    """How many images, or batches, can be at work at once."""
    busy: float
    """Seconds that its workers were at work, summed over them. Waiting for work and for room is not work."""
    images: int
    held: float = 0.0
    """Seconds in which work waited before the stage, of a stage that takes more at once the more waits."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a process did since it started."""

    at: float
    """The monotonic clock, in seconds."""
    stages: dict[str, StageTotals]
    starved: float = 0.0
    """Seconds in which fetch waited for references."""
    cores: float = 1.0
    """Those that the process may use."""
    processor: float = 0.0
    """Seconds of all these cores in which anything ran on them, this process or another."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage over some time. `name` is one of KINDS."""

    name: str
    workers: int
    busy: float
    """0 to 1, the mean of its workers."""
    rate: float
    """Images a second."""
    held: float = 0.0
    """Share of the time in which work waited before it."""

    @property
    def pressure(self) -> float:
        """`busy`, or 0 for a stage that is busy with little at a time and would take more."""
        return 0.0 if KINDS[self.name].adapts and self.held < HELD else self.busy

    @property
    def could(self) -> float | None:
        """Images a second that it could do; None where that is far more than it was asked for."""
        return self.rate / self.pressure if self.pressure > 0.01 and self.rate > 0 else None


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of some seconds."""

    seconds: float
    stages: tuple[Stage, ...]
    starved: float = 0.0
    """Share of the time in which fetch waited for references."""
    cores: float = 1.0
    processor: float = 0.0
    """Share of the time that the cores were busy."""


@dataclass(frozen=True)
class Kind:
    """What a stage's workers are called, and what follows for a verdict."""

    worker: str
    more: str
    """What to do; {n} is the number of workers with one more."""
    computes: bool = False
    """Its work is the processor's, not another machine's or a disk's."""
    adapts: bool = False
    """It takes more at once the more waits, so that being busy means little while nothing waits before it."""
    holds: bool = False
    """Its workers are places that other stages work in: they are full whenever one of those limits."""
    spread: bool = True
    """One more worker takes a share of the work. Else its remedy is another."""


KINDS: dict[str, Kind] = {
    "publish": Kind("producer", "a faster source helps", adapts=True, spread=False),
    "fetch": Kind("fetch", "TRAPSTREAM_FETCHES={n}"),
    "decode": Kind("thread", "TRAPSTREAM_DECODERS={n}", computes=True),
    "slabs": Kind("slab", "TRAPSTREAM_SLABS={n}", holds=True),
    "detect": Kind("instance", "TRAPSTREAM_TRITON_INSTANCES={n}", computes=True),
    "consumer": Kind("event loop", "TRAPSTREAM_CONSUMERS={n}", computes=True),
    "emit": Kind("sender", "a faster broker helps", adapts=True, spread=False),
    "fold": Kind("thread", "a faster disk under the state folder helps", adapts=True, spread=False),
}
"""Every stage, in the order in which an image meets them."""
SHARED = frozenset({"detect"})
"""Stages that all consumers have in common: each of them reports the whole."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What limits, and what one more of it would do."""

    limits: str
    """A stage of KINDS, `processor`, or `nothing` where no stage is busy most of the time."""
    busiest: str
    """The stage that is busy for the largest share of the time, whatever limits it; `publish` where all wait."""
    busy: float
    """The share of time that what limits is busy."""
    rate: float
    """Images a second."""
    could: dict[str, float]
    """Images a second that each stage could do by itself, as far as it can be told."""
    gain: float | None = None
    """The rate with one more of what limits, divided by the rate now; None where that is not how it is helped."""
    max_gain: float | None = msgspec.field(default=None, name="room")
    """The rate at which the next stage limits, divided by the rate now: what help can bring at most. None where it
    cannot be told."""
    sentence: str


def between(before: Totals, after: Totals) -> Load | None:
    """What happened between two totals of one process; None where no time passed."""
    seconds = after.at - before.at
    if seconds <= 0:
        return None
    stages = []
    for name, now in after.stages.items():
        then = before.stages.get(name, StageTotals(workers=now.workers, busy=0.0, images=0))
        stages.append(
            Stage(
                name=name,
                workers=now.workers,
                busy=_share((now.busy - then.busy) / max(1, now.workers), seconds),
                rate=max(0, now.images - then.images) / seconds,
                held=_share(now.held - then.held, seconds),
            )
        )
    return Load(
        seconds=seconds,
        stages=tuple(stages),
        starved=_share(after.starved - before.starved, seconds),
        cores=after.cores,
        processor=_share((after.processor - before.processor) / max(after.cores, 0.01), seconds),
    )


def merged(loads: Iterable[Load]) -> Load | None:
    """Several processes of one machine as one: rates and workers add up. None without any."""
    known = list(loads)
    if not known:
        return None
    stages = []
    for name in KINDS:
        same = [stage for load in known for stage in load.stages if stage.name == name]
        if same:
            stages.append(max(same, key=lambda stage: stage.rate) if name in SHARED else _together(name, same))
    fetching = [load.starved for load in known if any(stage.name == "fetch" for stage in load.stages)]
    return Load(
        seconds=max(load.seconds for load in known),
        stages=tuple(stages),
        starved=min(fetching, default=0.0),
        cores=max(load.cores for load in known),
        processor=max(load.processor for load in known),
    )


def judge(load: Load | None) -> Verdict | None:
    """The verdict; None where nothing was done."""
    stages = [stage for stage in load.stages if stage.rate > 0] if load is not None else []
    rate = next((stage.rate for name in ("emit", "fold", "decode") for stage in stages if stage.name == name), 0.0)
    if load is None or rate <= 0:
        return None
    could = {stage.name: stage.could for stage in stages if not KINDS[stage.name].holds and stage.could is not None}
    # The producer is paced by the rest: it limits where fetch waits for references, however busy it is.
    at_work = [stage for stage in stages if not KINDS[stage.name].holds and stage.name != "publish"]
    top = max(at_work, key=lambda stage: stage.pressure)
    fold = next((stage for stage in stages if stage.name == "fold" and stage.pressure >= BUSY), None)
    if fold is not None:  # the log lets the rest run ahead of it, so nothing waits for it but the job's end
        top, rate = fold, fold.rate
    if top.pressure < BUSY:
        if load.starved >= HELD:
            return _source(load, rate, {name: most for name, most in could.items() if name != "publish"})
        full = next((stage for stage in stages if KINDS[stage.name].holds and stage.busy >= BUSY), None)
        if load.processor >= FULL:
            return _processor(load, top, rate, could)
        if full is None:
            return _nothing(top, rate, could)
        top = full
    elif load.processor >= FULL and KINDS[top.name].computes:
        return _processor(load, top, rate, could)
    return _stage(load, top, rate, could)


def _stage(load: Load, stage: Stage, rate: float, could: dict[str, float]) -> Verdict:
    kind, others = KINDS[stage.name], {name: most for name, most in could.items() if name != stage.name}
    gain, next_one = None, min(others.values(), default=None)
    most = next_one / rate if next_one is not None else None
    if kind.spread:
        more = (stage.workers + 1) / stage.workers / stage.busy
        # What computes needs cores for more. What waits does not, and the rest shows its lack of cores in `could`.
        left = 1 / max(load.processor, 0.01) if kind.computes else more
        gain = max(1.0, min(more, most if most is not None else more, left))
        advice = f"{_ordinal(stage.workers + 1)} {kind.worker} ({kind.more.format(n=stage.workers + 1)}) would "
        advice += f"give about {gain:.1f} x" if gain >= _WORTH else f"gain nothing: {_next(load, others)}"
    else:
        advice = f"{kind.more}, up to {most:.1f} x" if most is not None and most >= _WORTH else kind.more
    parts = (f"{stage.name} limits: {_workers(stage)}, {_rate(rate)}", _could(others), advice)
    return Verdict(
        limits=stage.name,
        busiest=stage.name,
        busy=stage.busy,
        rate=rate,
        could=could,
        gain=gain,
        max_gain=most,
        sentence="; ".join(filter(None, parts)),
    )


def _processor(load: Load, top: Stage, rate: float, could: dict[str, float]) -> Verdict:
    gain = (load.cores + 1) / load.cores
    sentence = (
        f"the processor limits: {load.cores:.3g} of {load.cores:.3g} cores {load.processor:.0%} busy, {_rate(rate)}; "
        f"{top.name} is the busiest stage ({_workers(top)}), and another {KINDS[top.name].worker} would gain nothing; "
        f"{_ordinal(round(load.cores) + 1)} core would give about {gain:.1f} x"
    )
    return Verdict(
        limits="processor", busiest=top.name, busy=load.processor, rate=rate, could=could, gain=gain, sentence=sentence
    )


def _source(load: Load, rate: float, could: dict[str, float]) -> Verdict:
    max_gain = min(could.values(), default=rate) / rate
    parts = (
        f"publish limits: no reference waits for {load.starved:.0%} of the time, {_rate(rate)}",
        _could(could),
        f"a faster source would give up to {max_gain:.1f} x" if max_gain >= _WORTH else "",
    )
    return Verdict(
        limits="publish",
        busiest="publish",
        busy=load.starved,
        rate=rate,
        could=could,
        max_gain=max_gain,
        sentence="; ".join(filter(None, parts)),
    )


def _nothing(top: Stage, rate: float, could: dict[str, float]) -> Verdict:
    sentence = f"nothing limits all the time: {top.name} is the busiest ({_workers(top)}), {_rate(rate)}"
    return Verdict(limits="nothing", busiest=top.name, busy=top.pressure, rate=rate, could=could, sentence=sentence)


def _together(name: str, same: list[Stage]) -> Stage:
    workers = sum(stage.workers for stage in same)
    return Stage(
        name=name,
        workers=workers,
        busy=sum(stage.busy * stage.workers for stage in same) / max(1, workers),
        rate=sum(stage.rate for stage in same),
        held=max(stage.held for stage in same),
    )


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


def _workers(stage: Stage) -> str:
    kind = KINDS[stage.name]
    at_work, many = round(stage.busy * stage.workers), "s" * (stage.workers > 1)
    many = "es" if many and kind.worker == "fetch" else many
    return f"{at_work} of {stage.workers} {kind.worker}{many} {stage.busy:.0%} busy"


def _could(others: dict[str, float]) -> str:
    return ", ".join(f"{name} could do {most:,.0f}" for name, most in sorted(others.items(), key=lambda each: each[1]))


def _next(load: Load, others: dict[str, float]) -> str:
    if not others or 1 / max(load.processor, 0.01) < _WORTH:
        return f"the cores are {load.processor:.0%} busy"
    name = min(others, key=lambda each: others[each])
    return f"{name} can do no more than {others[name]:,.0f}"


def _rate(rate: float) -> str:
    return f"{rate:,.0f} images/s" if rate >= 20 else f"{rate:.2g} images/s"


def _ordinal(number: int) -> str:
    words = {2: "a second", 3: "a third", 4: "a fourth", 5: "a fifth"}
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in {11, 12, 13} else 0, "th")
    return words.get(number, f"{'an' if number in {8, 11, 18} else 'a'} {number}{ending}")
