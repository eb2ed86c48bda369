"""Two sides of a question, run by turns on one machine: the ratio of their rates, with its spread."""

import contextlib
from collections.abc import Callable, Iterator

import click

from bench import load
from bench.pipeline import Sized, loop
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import bench_stack

LOOP = "loop"
DEFAULT = "default"


def settings_of(side: str) -> dict[str, str]:
    """`default` or `NAME=VALUE,NAME=VALUE`, with or without TRAPSTREAM_, as an environment. UsageError otherwise."""
    if side == DEFAULT:
        return {}
    pairs = [pair.partition("=") for pair in side.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.UsageError(f"{side!r} is no side: give {LOOP}, {DEFAULT}, or settings such as DECODERS=2,BATCH=4")
    return {f"TRAPSTREAM_{name.strip().upper().removeprefix('TRAPSTREAM_')}": value for name, _, value in pairs}


@contextlib.contextmanager
def _side(plan: Plan, side: str, name: str) -> Iterator[Callable[[], float]]:
    uris = load.uris(plan.images, plan.say)
    if side == LOOP:
        yield lambda: loop(plan, uris)["rate"]
        return
    with bench_stack(plan.work / name, plan.model, settings_of(side)) as bench:
        sized = Sized(plan, bench, plan.model.info, uris, name)
        yield lambda: sized.run().rate


def compare(plan: Plan, one: str, other: str) -> list[Record]:
    """The rates of both sides, and the ratio of the first to the second. Each has a stack of its own, both stay up."""
    for side in (one, other):
        if side != LOOP:
            settings_of(side)
    firsts: list[float] = []
    seconds: list[float] = []
    with _side(plan, one, "first") as first, _side(plan, other, "second") as second:

        def once() -> float:
            for values, run in ((firsts, first), (seconds, second))[:: 1 if len(firsts) % 2 else -1]:
                values.append(run())
            return firsts[-1] / seconds[-1]

        ratios = plan.repeat(f"{one} against {other}", once, most=plan.pick(3, 10))
    return [
        record("compare", f"{one}, {plan.label}", Runs(tuple(firsts)), "images/s"),
        record("compare", f"{other}, {plan.label}", Runs(tuple(seconds)), "images/s"),
        record(
            "compare", f"{one} / {other}", ratios, "x",
            smallest=round(min(ratios.values), 3), largest=round(max(ratios.values), 3),
        ),
    ]  # fmt: skip
