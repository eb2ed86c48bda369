"""`trapstream bench NAME`: measures, and ends with a table, a verdict and a page."""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench import compare as comparing
from bench import (
    fold,
    live,
    machine,
    models,
    overhead,
    pipeline,
    report,
    scaleout,
    stages,
)
from bench.load import Images, parse_size
from bench.plan import Plan
from bench.records import Book, Record
from bench.stacks import Bench, bench_stack
from trapstream.cli.context import Context, say
from trapstream.cli.progress import progress
from trapstream.models.deployed import Runtime
from trapstream.models.runtimes import ALL

Steps = Iterator[list[Record]]
Body = Callable[..., Steps]
LARGE = (2048, 1536)
_UNPACED = {"TRAPSTREAM_PUBLISH_AHEAD": "0"}
"""For publishing alone: nobody takes the references."""


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_OPTIONS = (
    click.option(
        "--size", type=parse_size, metavar="WxH", default="1280x960", show_default=True, help="Of drawn scenes."
    ),
    click.option("--runtime", type=click.Choice(ALL), help="What runs the model.  [default: as it is deployed]"),
    click.option(
        "--model", "label", metavar="NAME", help="NAME[@VERSION] of a model of this home.  [default: demonstration]"
    ),
    click.option("--images", type=_FOLDER, help="A folder to use; else drawn scenes."),
    click.option("--json", "lines", type=click.Path(path_type=Path), help="Add a JSON line for each measure here."),
    click.option("--quick", is_flag=True, help="Fewer and shorter runs: all of it within 5 minutes on 2 cores."),
)
"""The options of every measure."""


@click.group()
def bench() -> None:
    """Measure this machine: NAME is a stage, the whole, or `all`. Each has a stack of its own, gone afterwards."""


def measured(body: Body) -> click.Command:
    """Makes a command of a generator of records: the options that all share, a bar, a table and the rest."""

    def run(
        context: Context, quick: bool, lines: Path | None, images: Path | None,
        label: str | None, runtime: Runtime | None, size: tuple[int, int], **options: Any,
    ) -> None:  # fmt: skip
        chosen = Images(size=size, folder=images)
        model = models.chosen(context.home, label, runtime)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trapstream-bench-") as work, progress("measuring", "measures") as bar:
            configuration = {"quick": quick, "images": chosen.label, "quality": chosen.quality, "model": model.name}
            book = Book(lines, configuration)

            def show(what: str, number: int) -> None:
                bar(len(book.records), None, f"{what}, run {number}")

            plan = Plan(
                work=Path(work), home=context.home, quick=quick, images=chosen, model=model, say=say, progress=show
            )
            for found in body(plan, **options):
                for one in found:
                    book.add(one)
        report.show(book)
        load = machine.busy()
        if load > 1.5 * plan.cores:
            say(f"the machine was busy (load {load:g} on {plan.cores} cores): believe the ratios, not the rates")
        page = report.write(book, context.home / "bench" / time.strftime("%Y%m%d-%H%M%S"))
        say(f"{time.monotonic() - began:.0f} s; page: {page}")

    functools.update_wrapper(run, body)  # its help, and its own options
    command: Callable[..., None] = click.pass_obj(run)
    for option in _OPTIONS:
        command = option(command)
    return click.command(name=body.__name__.removeprefix("_"))(command)


def _publish(plan: Plan) -> Steps:
    """References a second into Kafka."""
    with bench_stack(plan.work / "publish", plan.model, _UNPACED, services=("producer",)) as stack:
        yield stages.publish(plan, stack)


def _fetch(plan: Plan) -> Steps:
    """Files a second, read as a consumer reads them."""
    yield stages.fetch(plan)


def _decode(plan: Plan) -> Steps:
    """Images a second that one thread decodes and letterboxes."""
    yield stages.decode(plan)


def _detect(plan: Plan) -> Steps:
    """Images a second of Triton alone, under a closed loop."""
    with bench_stack(plan.work / "detect", plan.model, services=()) as stack:
        yield stages.detect(plan, stack)


def _pipeline(plan: Plan) -> Steps:
    """The whole, by turns with the same decode and model in one Python loop, and what it costs."""
    with bench_stack(plan.work / "pipeline", plan.model) as stack:
        yield from _whole(plan, [plan.images], stack)


def _scaleout(plan: Plan) -> Steps:
    """One to eight consumers against a detector of fixed time."""
    with bench_stack(plan.work / "scaleout", plan.model, services=("producer",)) as stack:
        yield scaleout.scaleout(plan, stack)


@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=live.RATE, show_default=True, help="Images/s that come."
)
def _live(plan: Plan, rate: float) -> Steps:
    """Live images beside a backfill: how long they take, what they cost it, and what a flood of them leaves."""
    uploaded = {"TRAPSTREAM_LIVE_MODEL": plan.model.bundle.label}
    with bench_stack(plan.work / "live", plan.model, uploaded) as stack:
        yield live.live(plan, stack, plan.model.info, rate)


@click.option("--count", type=click.IntRange(1), default=300_000, show_default=True, help="Results.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Open at once; they share them.")
def _fold(plan: Plan, count: int, jobs: int) -> Steps:
    """Results a second that the aggregator folds, on one core, and its time and memory to the file."""
    with bench_stack(plan.work / "fold", plan.model, services=()) as stack:
        yield fold.fold(plan, stack, count, jobs)


@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
def _compare(plan: Plan, one: str, other: str) -> Steps:
    """A and B by turns: each `loop`, `default`, or settings such as DECODERS=2,BATCH=4."""
    yield comparing.compare(plan, one, other)


def _all(plan: Plan) -> Steps:
    """All of it but compare."""
    yield from _fetch(plan)
    yield from _decode(plan)
    with bench_stack(plan.work / "whole", plan.model) as stack:
        yield stages.detect(plan, stack)
        sizes = (
            [plan.images]
            if plan.images.folder is not None
            else [plan.images, replace(plan.images, size=LARGE, count=16)]
        )
        yield from _whole(plan, sizes, stack)
    with bench_stack(plan.work / "rest", plan.model, _UNPACED, services=("producer",)) as stack:
        yield scaleout.scaleout(plan, stack)
        yield stages.publish(plan, stack)
    yield from _fold(plan, plan.pick(100_000, 3_000_000), 1)
    yield from _live(plan, live.RATE)


def _whole(plan: Plan, sizes: list[Images], stack: Bench) -> Steps:
    for number, images in enumerate(sizes):
        most = None if number == 0 else plan.pick(2, None)
        yield pipeline.against_loop(replace(plan, images=images), stack, most)
    yield pipeline.with_damage(plan, stack)
    yield overhead.overhead(plan, stack)
    yield overhead.memory(plan, stack)


for _body in (
    _publish, _fetch, _decode, _detect, _pipeline, _scaleout, _fold, _live, _compare, _all,
):  # fmt: skip
    bench.add_command(measured(_body))
