"""`rebuild`: a finished job's file, made again from the log."""

import asyncio
from pathlib import Path

import click

from trapstream.cli import exits
from trapstream.cli.context import say
from trapstream.cli.target import Target, target_options
from trapstream.core import result_store
from trapstream.core import status as statuses
from trapstream.core.states import ENDED
from trapstream.results import partial as from_log


@click.command()
@click.argument("job")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write what the log has here.")
@target_options
def rebuild(target: Target, job: str, output: Path | None) -> None:
    """Make the result file of JOB again from the log."""
    asyncio.run(_rebuild(target, job, output))


async def _rebuild(target: Target, job: str, output: Path | None) -> None:
    ended = (await statuses.read_all(target.kafka)).get(job)
    spec = (await statuses.read_specs(target.kafka)).get(job)
    if ended is None or spec is None:
        raise exits.NoSuchJob(job)
    if ended.state not in ENDED:
        raise exits.Incomplete(f"{job} is {ended.state}: it has no file yet; `results --partial` writes what is there")
    if output is not None:
        with result_store.whole_file(output) as file:
            account = await from_log.partial(target.kafka, spec, file, cut=ended.cut)
        say(f"{output}: {account.done:,} images")
        return
    path = result_store.result_path(target.results, job)
    different = await from_log.rebuild(target.kafka, spec, ended, path)
    if different is not None:
        raise exits.CommandError(f"{path} was left as it is: {different}; -o FILE writes what the log has")
    say(f"{path} is as {job} ended: {ended.counts.done:,} images")
