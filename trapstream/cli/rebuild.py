"""`rebuild`: a finished job's file, or all of the aggregator's state, made again from the log."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import click

from trapstream.cli import exits
from trapstream.cli.context import Context, say
from trapstream.cli.target import Target, find, stack_options
from trapstream.core import owner, result_store
from trapstream.core import status as statuses
from trapstream.core.errors import Retryable
from trapstream.core.states import ENDED
from trapstream.local import control
from trapstream.results import partial as from_log


@click.command()
@click.argument("job", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="With JOB: write what the log has here.")
@stack_options
@click.pass_obj
def rebuild(context: Context, job: str | None, output: Path | None, kafka: str | None, folder: Path | None) -> None:
    """Make the result file of JOB again from the log; without JOB, and with the stack down, the aggregator's stores."""
    if job is not None:
        asyncio.run(_file(find(kafka, folder), job, output))
    elif kafka is not None or output is not None:
        raise click.UsageError("--kafka and -o need a JOB; without one the stores of a stopped stack are made again")
    else:
        _stores(context.home)


async def _file(target: Target, job: str, output: Path | None) -> None:
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


def _stores(home: Path) -> None:
    if control.running(home) is not None:
        raise exits.CommandError(
            "a stack is running: `trapstream down` first, then `rebuild`, then `up`; one job's file needs only "
            "`trapstream rebuild JOB`"
        )
    folder = home / "aggregator"
    with contextlib.ExitStack() as held:
        try:
            for path in sorted(folder.glob("*/lock")):
                if (handle := owner.lock(path.parent)) is None:
                    raise exits.CommandError(f"{path.parent} is held by another aggregator: stop it first")
                held.callback(os.close, handle)
            shutil.rmtree(folder)
        except FileNotFoundError:
            say("there is nothing to make again")
        except Retryable as error:
            raise exits.CommandError(f"{error}") from None
        except OSError as error:
            raise exits.CommandError(f"{folder} cannot be removed: {error.strerror}") from error
        else:
            say("done: the aggregator makes its stores again from the log at its next start")
