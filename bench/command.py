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

from bench import compare as comparing
from bench import folding, live, machine, overhead, pipeline, predictions, report, scaleout, stages
from bench.load import Images, parse_size
from bench.plan import Plan, demonstration
from bench.records import Book, Record
from bench.stacks import Bench, bench_stack
from trapstream.cli.context import Context, say
from trapstream.cli.progress import progress

Steps = Iterator[list[Record]]
Body = Callable[..., Steps]
LARGE = (2048, 1536)


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
        size: tuple[int, int], scenes: int, quality: int, **options: Any,
    ) -> None:  # fmt: skip
        chosen = Images(size=size, count=scenes, quality=quality, folder=images)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trapstream-bench-") as work, progress("measuring", "measures") as bar:
            book = Book(lines, {"quick": quick, "images": chosen.label, "quality": quality}, lambda _: None)

            def tell(what: str, number: int) -> None:
                bar(len(book.records), None, f"{what}, run {number}")

            plan = Plan(work=Path(work), quick=quick, images=chosen, say=say, tell=tell)
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
    unpaced = {"TRAPSTREAM_PUBLISH_AHEAD": "0"}  # nobody takes the references here
    with bench_stack(plan.work / "publish", unpaced, services=("producer",)) as stack:
        yield stages.publish(plan, stack, demonstration())


def _fetch(plan: Plan) -> Steps:
    """Files a second, read as a consumer reads them."""
    yield stages.fetch(plan)


def _decode(plan: Plan) -> Steps:
    """Images a second that one thread decodes and letterboxes."""
    yield stages.decode(plan, demonstration())


def _detect(plan: Plan) -> Steps:
    """Images a second of Triton alone, under a closed loop."""
    with bench_stack(plan.work / "detect", services=()) as stack:
        yield stages.detect(plan, stack, demonstration())


def _pipeline(plan: Plan) -> Steps:
    """The whole, by turns with the same decode and model in one Python loop, and what it costs."""
    with bench_stack(plan.work / "pipeline") as stack:
        yield from _whole(plan, [plan.images], stack)


def _scaleout(plan: Plan) -> Steps:
    """One to eight consumers against a detector of fixed time."""
    with bench_stack(plan.work / "scaleout", services=("producer", "aggregator")) as stack:
        yield scaleout.scaleout(plan, stack)


def _verdict(plan: Plan) -> Steps:
    """Slows each stage in turn: is it named, and does what the verdict says come true?"""
    with bench_stack(plan.work / "verdict", services=("producer", "aggregator")) as stack:
        yield predictions.predictions(plan, stack)


def _live(plan: Plan) -> Steps:
    """Live images beside a backfill: how long they take, what they cost it, and what a flood of them leaves."""
    with bench_stack(plan.work / "live") as stack:
        yield live.live(plan, stack, demonstration())


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
    """All of it but compare, live and verdict."""
    yield from _fetch(plan)
    yield from _decode(plan)
    with bench_stack(plan.work / "whole") as stack:
        yield stages.detect(plan, stack, demonstration())
        sizes = (
            [plan.images]
            if plan.images.folder is not None
            else [plan.images, replace(plan.images, size=LARGE, count=16)]
        )
        yield from _whole(plan, sizes, stack)
    yield from _scaleout(plan)
    yield from _publish(plan)
    yield folding.fold(plan, plan.pick(100_000, 3_000_000), 1, None, in_process=False)


def _whole(plan: Plan, sizes: list[Images], stack: Bench) -> Steps:
    model = demonstration()
    for images in sizes:
        yield pipeline.against_loop(replace(plan, images=images), stack, model)
    yield pipeline.with_damage(plan, stack, model)
    yield overhead.overhead(plan, stack)
    yield overhead.memory(plan, stack)
    yield overhead.start(plan, stack)


for _body in (_publish, _fetch, _decode, _detect, _pipeline, _scaleout, _fold, _verdict, _live, _compare, _all):
    bench.add_command(measured(_body))
