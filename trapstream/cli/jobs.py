"""submit, status, results, cancel: verbs about jobs on a stack that is up."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from trapstream.cli import account, exits
from trapstream.cli.context import say
from trapstream.cli.progress import progress
from trapstream.cli.target import Target, target_options
from trapstream.cli.webhooks import read_webhooks, webhook_options
from trapstream.core import event_filter, result_store, verdict
from trapstream.core import status as statuses
from trapstream.core.messages import JobSpec, JobState, JobStatus, Lane, ModelInfo, Webhook
from trapstream.core.states import ENDED, images_of
from trapstream.core.triton_names import triton_name

source_argument = click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")


def job_options(command: click.decorators.FC) -> click.decorators.FC:
    """The options of every verb that makes a job."""
    for option in (
        click.option("--name", help="A name for people. Default: from the first SOURCE."),
        click.option("--model", default="demonstration", show_default=True, help="NAME[@VERSION] of the model."),
        click.option(
            "--threshold",
            type=click.FloatRange(0, 1),
            default=0.005,
            show_default=True,
            help="Lowest confidence kept in the file.",
        ),
        click.option("--anyway", is_flag=True, help="Take a list of which nothing is there; its images then fail."),
    ):
        command = option(command)
    return command


async def make_job(
    target: Target,
    sources: tuple[str, ...],
    *,
    name: str | None,
    model: str,
    threshold: float,
    lane: Lane,
    anyway: bool,
    weight: int = 1,
    hooks: Sequence[Webhook] = (),
) -> JobSpec:
    """Reads the sources and submits the job, with progress."""
    from trapstream.jobs import submit as submitting  # noqa: PLC0415 - slow to import, and most verbs make no job
    from trapstream.models import bundle_store  # noqa: PLC0415 - as above

    info = bundle_store.find(target.models, model).card.info
    webhooks: tuple[Webhook, ...] = ()
    for hook in hooks:
        webhooks = event_filter.with_webhook(webhooks, hook, info.classes)
    await require_served(target, info)
    with progress("reading") as report:
        return await submitting.submit(
            target.kafka,
            target.results,
            sources,
            name=name or _name_of(sources[0]),
            lane=lane,
            model=info,
            threshold=threshold,
            webhooks=webhooks,
            weight=weight,
            anyway=anyway,
            progress=lambda read: report(read, None),
            note=say,
            lacking=target.shortage,
        )


async def require_served(target: Target, model: ModelInfo) -> None:
    """Tells now what would only wait: a model that the stack's Triton does not serve. An away Triton is waited for."""
    from trapstream.local import loading  # noqa: PLC0415 - as in `make_job`

    if target.triton is None:
        return
    if await loading.is_ready(target.triton, triton_name(model.name, model.version)) is False:
        raise exits.CommandError(f"{model.label} is not served here; `trapstream model deploy {model.label}` loads it")


async def follow(target: Target, spec: JobSpec) -> JobStatus:
    """Draws the job's progress until it ends. Returns its last status."""
    with progress("detecting") as report:
        async with contextlib.aclosing(statuses.watch(target.kafka, spec.job)) as found:
            async for status in found:
                report(status.counts.done, spec.images, account.rate_and_rest(status, time.time()))
    return status


def _name_of(source: str) -> str:
    return "standard-input" if source == "-" else Path(source.rstrip("/")).name or "job"


@click.command()
@source_argument
@job_options
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default="bulk",
    show_default=True,
    help="live overtakes bulk.",
)
@webhook_options(multiple=True)
@click.option(
    "--weight",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Its part of the bulk lane: 3 gets three times the rate of 1.",
)
@click.option("--wait", is_flag=True, help="Return when the job has ended.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="With --wait: write the result file here.")
@target_options
def submit(
    target: Target,
    sources: tuple[str, ...],
    lane: str,
    webhook: tuple[str, ...],
    webhook_filter: str,
    wait: bool,
    output: Path | None,
    **wanted: Any,
) -> None:
    """Make a job of SOURCE... and print its id."""
    if output is not None and not wait:
        raise click.UsageError("-o needs --wait")
    from trapstream.jobs.sources import check  # noqa: PLC0415 - as in `make_job`

    hooks = read_webhooks(webhook, webhook_filter)
    check(sources, wanted["anyway"])

    async def work() -> JobStatus | None:
        spec = await make_job(target, sources, lane=Lane(lane), hooks=hooks, **wanted)
        print(spec.job, flush=True)
        return await follow(target, spec) if wait else None

    ended = asyncio.run(work())
    if ended is not None:
        exits.unless_complete(ended)
        if output is not None:
            target.copy_result(ended, output)


@click.command()
@click.argument("job", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--watch", is_flag=True, help="Go on until the job ends, or Ctrl-C.")
@target_options
def status(target: Target, job: str | None, as_json: bool, watch: bool) -> None:
    """States, counts, rate and predicted finish of JOB, or of all jobs; while they run, what limits the rate."""

    async def once() -> list[JobStatus]:
        known = await statuses.read_all(target.kafka)
        if job is not None and job not in known:
            raise exits.NoSuchJob(job)
        return [known[job]] if job is not None else sorted(known.values(), key=lambda each: each.updated)

    async def all_along() -> None:
        assert job is not None
        async with contextlib.aclosing(statuses.watch(target.kafka, job)) as found:
            async for each in found:
                await show([each])

    async def waiting(rows: list[JobStatus]) -> dict[str, tuple[str, str]]:
        """The model that a job waits for, and its error, of the jobs that wait for one."""
        away = await target.waiting()
        specs = await statuses.read_specs(target.kafka) if away else {}
        wanted = {row.job: specs[row.job].model.label for row in rows if row.state not in ENDED and row.job in specs}
        return {each: (label, away[label]) for each, label in wanted.items() if label in away}

    async def show(rows: list[JobStatus]) -> None:
        running = any(row.state not in ENDED for row in rows)
        limits = verdict.judge(await target.load()) if running else None
        waits = await waiting(rows) if running else {}
        if as_json:
            for row in rows:
                found = msgspec.to_builtins(limits) if row.state not in ENDED else None
                model, error = waits.get(row.job, (None, ""))
                more = {"waits_for_model": model, "model_error": error or None, "verdict": found}
                print(msgspec.json.encode(msgspec.to_builtins(row) | more).decode(), flush=True)
        else:
            Console().print(_table(rows, {each: model for each, (model, _) in waits.items()}))
            for line in [line for row in rows if job is not None for line in account.equation(row)]:
                print(line, flush=True)
            for each, (model, error) in waits.items() if job is not None else ():
                print(account.waits(each, model, error), flush=True)
            if limits is not None:
                print(limits.sentence, flush=True)
            for words in target.short_of_instances():
                print(words, flush=True)

    if watch and job is None:
        raise click.UsageError("--watch needs a JOB")

    async def work() -> None:
        await show(await once())
        if watch:
            await all_along()

    asyncio.run(work())


def _table(rows: list[JobStatus], waits: dict[str, str]) -> Table:
    table = Table("job", "state", "done", "of", "with detections", "empty", "failed", "note", box=None)
    for row in rows:
        table.add_row(
            row.job,
            row.state,
            f"{row.counts.done:,}",
            "?" if row.images is None else f"{row.images:,}",
            f"{row.counts.detected:,}",
            f"{row.counts.empty:,}",
            f"{sum(row.counts.failed.values()):,}",
            ", ".join(filter(None, (account.rate_and_rest(row, time.time()), _waits(waits.get(row.job))))),
        )
    return table


def _waits(model: str | None) -> str:
    return f"waits for {model}" if model else ""


@click.command()
@click.argument("job")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write here instead of standard output.")
@click.option("--partial", is_flag=True, help="What is there so far, marked incomplete.")
@target_options
def results(target: Target, job: str, output: Path | None, partial: bool) -> None:
    """The result file of JOB."""
    ended = asyncio.run(statuses.read_all(target.kafka)).get(job)
    if ended is None:
        raise exits.NoSuchJob(job)
    if ended.state in ENDED:
        target.copy_result(ended, output)
    elif partial:
        asyncio.run(_write_partial(target, job, output))
    else:
        raise exits.Incomplete(
            f"{job} is {ended.state}: {ended.counts.done:,} images done; --partial writes what is there so far"
        )


async def _write_partial(target: Target, job: str, output: Path | None) -> None:
    from trapstream.results import partial as partial_results  # noqa: PLC0415 - slow to import, and seldom needed

    spec = (await statuses.read_specs(target.kafka))[job]
    if output is not None:
        with result_store.whole_file(output) as file:
            await partial_results.partial(target.kafka, spec, file)
        return
    with tempfile.TemporaryFile() as file:
        await partial_results.partial(target.kafka, spec, file)
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)


@click.command()
@click.argument("job")
@target_options
def cancel(target: Target, job: str) -> None:
    """End JOB: what is left of it is skipped, what was done stays."""
    from trapstream.jobs import submit as submitting  # noqa: PLC0415 - as in `make_job`

    async def work() -> tuple[JobSpec, JobStatus]:
        if job not in await statuses.read_all(target.kafka):
            raise exits.NoSuchJob(job)
        spec = await submitting.cancel(target.kafka, job)
        return spec, await statuses.end(target.kafka, job)

    spec, ended = asyncio.run(work())
    said = "is cancelled" if ended.state is JobState.CANCELLED else f"had ended before: {ended.state}"
    print(f"{job} {said}: {ended.counts.done:,} of {images_of(spec, ended.counts.done):,} images done", file=sys.stderr)
