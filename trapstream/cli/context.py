"""What every verb is given, how verbs speak, and the files that they will write at their end.

Results go to standard output, everything else to standard error.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from trapstream.cli import exits


@dataclass(frozen=True)
class Context:
    """The options that stand before the verb."""

    home: Path


def say(line: str) -> None:
    """One line for the user, not part of the result."""
    click.echo(line, err=True)


def check_output(output: Path, option: str = "-o") -> None:
    """Tells now, not after hours, that the file cannot be written. CommandError names the `option` to change."""
    if output.is_dir():
        raise exits.CommandError(f"{output} is a folder; name a file, such as {output / 'results.json'}")
    if output.exists() and not output.is_file():
        raise exits.CommandError(f"{output} is no regular file; write to one and copy it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise exits.CommandError(
            f"{output} cannot be written: {error.strerror}; choose another place with {option}"
        ) from error
