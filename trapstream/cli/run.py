"""run: the main job in one command."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from trapstream.cli import account, exits
from trapstream.cli.context import check_output, say
from trapstream.cli.jobs import follow, job_options, make_job, source_argument
from trapstream.cli.target import Target, of_stack
from trapstream.core.messages import JobSpec, JobStatus, Lane
from trapstream.jobs import submit as submitting
from trapstream.jobs.sources import check as check_sources
from trapstream.local.control import ensure_stack
from trapstream.results import contact_sheet
from trapstream.results import read as read_result


@click.command()
@source_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The result file (JSON).")
@job_options
@click.option("--strict", is_flag=True, help="Exit with 5 if the job is complete but some images failed.")
@click.pass_context
def run(context: click.Context, /, sources: tuple[str, ...], output: Path, strict: bool, **wanted: Any) -> None:
    """Detect in SOURCE... and write the result file: brings a stack up if none is up."""
    check_output(output)
    check_sources(sources, wanted["anyway"])
    with ensure_stack(context.obj.home, say) as (stack, _):
        target = of_stack(stack)
        spec, ended = asyncio.run(_job(target, sources, wanted))
        exits.unless_complete(ended)
        target.copy_result(ended, output)
        _summary(spec, ended, output, _contact_sheet(target, spec, output))  # nobody waits for the stack to go down
    failed = sum(ended.counts.failed.values())
    if strict and failed:
        raise exits.SomeFailed(f"complete, but {failed:,} images failed; each entry in {output} says why")


async def _job(target: Target, sources: tuple[str, ...], wanted: dict[str, Any]) -> tuple[JobSpec, JobStatus]:
    spec = await make_job(target, sources, lane=Lane.BULK, **wanted)
    try:
        return spec, await follow(target, spec)
    except asyncio.CancelledError:
        # Ctrl-C: nobody waits for the rest any more. The job's own file keeps what was done.
        await submitting.cancel(target.kafka, spec.job)
        say(f"interrupted: {spec.job} is cancelled, and no result file was written")
        raise


def _contact_sheet(target: Target, spec: JobSpec, output: Path) -> Path | None:
    picks = contact_sheet.pick(read_result.open_result(output).entries(), spec.model.typical_threshold)
    found = target.photographs(spec, {chosen.file for chosen in picks})
    sheet = output.with_suffix(".png")
    title = f"{spec.name}: {spec.model.label}, confidence {spec.model.typical_threshold:g} and above"
    known = [(chosen, found[chosen.file]) for chosen in picks if chosen.file in found]
    try:
        return sheet if contact_sheet.draw(known, spec.model.classes, title, sheet) else None
    except OSError as error:
        say(f"no contact sheet: {error}")
        return None


def _summary(spec: JobSpec, ended: JobStatus, output: Path, sheet: Path | None) -> None:
    seconds = max(ended.updated - spec.created, 1e-3)
    print("\n".join(account.lines(ended.counts, spec.images)))
    print(f"images/s         {spec.images / seconds:>10,.1f}")
    print(f"result file      {os.fspath(output)}")
    if sheet is not None:
        print(f"contact sheet    {os.fspath(sheet)}")
    if spec.model.name == "demonstration":
        say("The demonstration model shows that the system works. It is not for science.")
