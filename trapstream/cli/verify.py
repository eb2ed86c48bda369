"""verify: does a result file hold every image of its manifest exactly once?"""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trapstream.cli import exits
from trapstream.cli.context import say
from trapstream.cli.target import Target, find, stack_options
from trapstream.core import json_codec, result_store
from trapstream.core import status as statuses
from trapstream.jobs import kinds
from trapstream.jobs.manifest import Notes
from trapstream.jobs.sources import manifest_lines, open_sources
from trapstream.results import read
from trapstream.results.ledger import Account, disagreements, explanation, summary

Names = Callable[[], Iterator[str]]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--manifest", "sources", multiple=True, metavar="SOURCE", help="What should be in FILE.")
@click.option("--job", help="The job that made FILE: its stored manifest, and the file's own sha256.")
@click.option("--json", "as_json", is_flag=True, help="The account as one JSON object.")
@stack_options
def verify(
    file: Path, sources: tuple[str, ...], job: str | None, as_json: bool, kafka: str | None, folder: Path | None
) -> None:
    """Prove that FILE holds every image of SOURCE, or of JOB, exactly once, or list what is missing or unknown."""
    if not sources and job is None:
        raise click.UsageError("what should be in FILE? Name it with --manifest SOURCE, or with --job JOB")
    differing: list[str] = []
    notes = Notes()
    names = _of_sources(sources, notes) if sources else None
    if job is not None:
        target = find(kafka, folder)
        differing += asyncio.run(_against_job(file, target, job))
        names = names or _of_job(target, job)
    assert names is not None
    found = read.verify(file, names)
    own = read.open_result(file).account
    differing += disagreements(found, own)
    _say(found, own, differing, notes, as_json)
    if not found.complete or differing:
        raise exits.Incomplete(f"{file} is not the whole of {', '.join(sources) or job}")


def _say(found: Account, own: Mapping[str, Any], differing: list[str], notes: Notes, as_json: bool) -> None:
    for line in notes.lines():
        say(line)
    why = None if found.complete else explanation(found, own)
    if as_json:
        report = {
            "complete": found.complete,
            **asdict(found),
            "explanation": why,
            "disagreements": differing,
            "left_out": kinds.account(notes.counts),
        }
        click.echo(json_codec.encode(report))
        return
    print("\n".join(summary(found)))
    for line in ([why] if why else []) + differing:
        print(line, file=sys.stderr)


def _of_sources(sources: tuple[str, ...], notes: Notes) -> Names:
    """The names of the images, each time anew; `notes` has what was left out the last time."""
    opened = open_sources(sources, anyway=True)  # the photographs may be gone by now
    if not all(source.again for source in opened):
        raise click.UsageError("verify reads its SOURCE twice, so it cannot be standard input; save the list first")

    def names() -> Iterator[str]:
        notes.clear()
        return (line.file for line in manifest_lines(opened, notes))

    return names


def _of_job(target: Target, job: str) -> Names:
    return lambda: (line.file for line in result_store.read_manifest(result_store.manifest_path(target.results, job)))


async def _against_job(file: Path, target: Target, job: str) -> list[str]:
    """What of the bytes on disk is not what the job says of them."""
    ended = (await statuses.read_all(target.kafka)).get(job)
    spec = (await statuses.read_specs(target.kafka)).get(job)
    if ended is None or spec is None:
        raise exits.NoSuchJob(job)
    differing = []
    if ended.sha256 is None:
        differing.append(f"{job} is {ended.state}: it has no file yet to compare with")
    elif _digest(file) != ended.sha256:
        differing.append(f"{file} is not the file that {job} ended with: its sha256 is another")
    manifest = result_store.manifest_path(target.results, job)
    if _digest(manifest) != spec.manifest_sha256:
        differing.append(f"{manifest} is not the manifest that {job} was made of: its sha256 is another")
    return differing


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
