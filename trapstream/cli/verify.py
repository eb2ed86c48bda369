"""verify: does a result file hold every image of its manifest exactly once?"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from aggregator.ledger import summary
from aggregator.read_result import open_result
from aggregator.verify import disagreements
from aggregator.verify import verify as check
from producer.manifest import Notes
from producer.sources import manifest_lines, open_sources
from trapstream.cli import exits


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--manifest", "sources", required=True, multiple=True, metavar="SOURCE", help="What should be in FILE.")
@click.option("--json", "as_json", is_flag=True, help="The account as one JSON object.")
def verify(file: Path, sources: tuple[str, ...], as_json: bool) -> None:
    """Prove that FILE holds every image of SOURCE exactly once, or list what is missing, doubled or unknown."""
    opened = open_sources(sources)
    if not all(source.again for source in opened):
        raise click.UsageError("verify reads its SOURCE twice, so it cannot be standard input; save the list first")

    def names() -> Iterator[str]:
        return (line.file for line in manifest_lines(opened, Notes()))

    try:
        found = check(file, names)
        differing = disagreements(found, open_result(file))
    except OSError as error:
        raise exits.CommandError(f"{file} cannot be read: {error.strerror}") from error
    if as_json:
        print(json.dumps({"complete": found.complete, **asdict(found), "disagreements": differing}))
    else:
        print("\n".join(summary(found)))
        for line in differing:
            print(line, file=sys.stderr)
    if not found.complete or differing:
        raise exits.Incomplete(f"{file} is not the whole of {', '.join(sources)}")
