"""`trapstream bench NAME`: measures, and ends with a table, a verdict, a page and a picture."""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import (
    analyzer,
    folding,
    live,
    machine,
    models,
    openloop,
    overhead,
    pipeline,
    predictions,
    report,
    scaleout,
    stages,
)
from bench import compare as comparing
from bench.load import Images, parse_size
from bench.models import Model
from bench.plan import Plan
from bench.records import Book, Record
from bench.stacks import Bench, bench_stack
from trapstream.cli.context import Context, say
from trapstream.cli.progress import progress
from trapstream.models.deployed import PRECISION, Runtime
from trapstream.models.runtimes import ALL, has_bfloat16

Steps = Iterator[list[Record]]
Body = Callable[..., Steps]
LARGE = (2048, 1536)
_UNPACED = {"TRAPSTREAM_PUBLISH_AHEAD": "0"}
"""For publishing alone: nobody takes the references."""


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_OPTIONS = (
    click.option("--quality", type=click.IntRange(1, 100), default=88, show_default=True, help="Of their JPEG."),
    click.option("--scenes", type=click.IntRange(1), default=48, show_default=True, help="How many different ones."),
    click.option(
        "--size",
        type=parse_size,
        metavar="WIDTHxHEIGHT",
        default="1280x960",
        show_default=True,
        help="Of drawn scenes.",
    ),
    click.option("--runtime", type=click.Choice(ALL), help="What runs the model.  [default: as it is deployed]"),
    click.option(
        "--model", "label", metavar="NAME", help="NAME[@VERSION] of a model of this home.  [default: demonstration]"
    ),
    click.option("--images", type=_FOLDER, help="A folder to use; else drawn scenes."),
    click.option(
        "--row", type=click.Path(path_type=Path, exists=True), help="Add a row by commit to this Markdown page."
    ),
    click.option(
        "--report", "folder", type=click.Path(path_type=Path), help="Page and picture.  [default: HOME/bench]"
    ),
    click.option("--json", "lines", type=click.Path(path_type=Path), help="Add a JSON line for each measure here."),
    click.option("--quick", is_flag=True, help="Fewer and shorter runs: all of it within 5 minutes on 2 cores."),
)
"""What every measure takes."""


@click.group()
def bench() -> None:
    """Measure this machine: NAME is a stage, the whole, or `all`. Each has a stack of its own, gone afterwards."""


def measured(body: Body) -> click.Command:
    """Makes a command of a generator of records: the options that all share, a bar, a table and the rest."""

    def run(
        context: Context, quick: bool, lines: Path | None, folder: Path | None, row: Path | None, images: Path | None,
        label: str | None, runtime: Runtime | None, size: tuple[int, int], scenes: int, quality: int, **options: Any,
    ) -> None:  # fmt: skip
        chosen = Images(size=size, count=scenes, quality=quality, folder=images)
        model = models.chosen(context.home, label, runtime)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trapstream-bench-") as work, progress("measuring", "measures") as bar:
            configuration = {"quick": quick, "images": chosen.label, "quality": quality, "model": model.name}
            book = Book(lines, configuration, lambda _: None)

            def tell(what: str, number: int) -> None:
                bar(len(book.records), None, f"{what}, run {number}")

            plan = Plan(work=Path(work), home=context.home, quick=quick, images=chosen, model=model, say=say, tell=tell)
            for found in body(plan, **options):
                for one in found:
                    book.add(one)
        Console(width=150).print(report.table(book.records))
        for line in report.verdicts(book.records):
            click.echo(line)
        load = machine.busy()
        if load > 1.5 * plan.cores:
            say(f"the machine was busy (load {load:g} on {plan.cores} cores): believe the ratios, not the rates")
        page = report.write(book, folder or context.home / "bench" / time.strftime("%Y%m%d-%H%M%S"))
        if row is not None:
            report.add_row(row, book, load)
        say(f"{time.monotonic() - began:.0f} s; page and picture: {page.parent}")

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
        if analyzer.there():
            yield stages.agreement(plan, stack)


@click.option("--burst", type=click.IntRange(1), default=1, show_default=True, help="With --rate: so many at once.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Offer so many images/s; how late are they?")
def _pipeline(plan: Plan, rate: float | None, burst: int) -> Steps:
    """The whole, by turns with the same decode and model in one Python loop, and what it costs.

    With --rate images come when they are due, whatever the system does: what it does of them, and their latencies.
    """
    if rate is None and burst > 1:
        raise click.UsageError("--burst needs --rate")
    with bench_stack(plan.work / "pipeline", plan.model) as stack:
        if rate is None:
            yield from _whole(plan, [plan.images], stack)
        else:
            yield openloop.offered(plan, stack, rate, burst)


def _yolov5s(plan: Plan) -> Steps:
    """The whole beside the loop, with a YOLOv5s of random weights at 640: in float32, and in bfloat16."""
    bundle = models.yolov5s(plan.work)
    for runtime in [each for each in models.SIZED if PRECISION[each] == "float32" or has_bfloat16()]:
        sized = replace(plan, model=Model(bundle, runtime))
        with bench_stack(plan.work / runtime, sized.model) as stack:
            yield pipeline.against_loop(sized, stack)


def _scaleout(plan: Plan) -> Steps:
    """One to eight consumers against a detector of fixed time."""
    with bench_stack(plan.work / "scaleout", plan.model, services=("producer",)) as stack:
        yield scaleout.scaleout(plan, stack)


def _verdict(plan: Plan) -> Steps:
    """Slows each stage in turn: is it named, and does what the verdict says come true?"""
    with bench_stack(plan.work / "verdict", plan.model, services=("producer",)) as stack:
        yield predictions.predictions(plan, stack)


def _live(plan: Plan) -> Steps:
    """Live images beside a backfill: how long they take, what they cost it, and what a flood of them leaves."""
    uploaded = {"TRAPSTREAM_LIVE_MODEL": plan.model.bundle.label}
    with bench_stack(plan.work / "live", plan.model, uploaded) as stack:
        yield live.live(plan, stack, plan.model.info)


@click.option("--count", type=click.IntRange(1), default=300_000, show_default=True, help="Results.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Open at once; they share them.")
@click.option("--kafka", "servers", metavar="HOST:PORT", help="Through this broker. Default: one of its own.")
@click.option("--in-process", is_flag=True, help="Without any broker: the store alone.")
def _fold(plan: Plan, count: int, jobs: int, servers: str | None, in_process: bool) -> Steps:
    """Results a second that the aggregator folds, on one core, and its time and memory to the file."""
    yield folding.fold(plan, count, jobs, servers, in_process)


@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
def _compare(plan: Plan, one: str, other: str) -> Steps:
    """A and B by turns: each `loop`, `default`, or settings such as DECODERS=2,BATCH=4."""
    yield comparing.compare(plan, one, other)


def _all(plan: Plan) -> Steps:
    """All of it but compare, verdict and yolov5s."""
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
        yield folding.fold(plan, plan.pick(100_000, 3_000_000), 1, stack.kafka, in_process=False)
    yield from _live(plan)


def _whole(plan: Plan, sizes: list[Images], stack: Bench) -> Steps:
    for number, images in enumerate(sizes):
        most = None if number == 0 else plan.pick(2, None)
        yield pipeline.against_loop(replace(plan, images=images), stack, most)
    yield pipeline.with_damage(plan, stack)
    yield overhead.overhead(plan, stack)
    yield overhead.memory(plan, stack)
    yield overhead.start(plan, stack)


for _body in (
    _publish, _fetch, _decode, _detect, _pipeline, _scaleout, _fold, _verdict, _yolov5s, _live, _compare, _all,
):  # fmt: skip
    bench.add_command(measured(_body))
