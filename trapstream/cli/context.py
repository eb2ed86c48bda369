"""What every verb is given, and how verbs speak: results to standard output, everything else to standard error."""

from dataclasses import dataclass
from pathlib import Path

import click


@dataclass(frozen=True)
class Context:
    """The options that stand before the verb."""

    home: Path
    verbose: bool = False


def say(line: str) -> None:
    """One line for the user, not part of the result."""
    click.echo(line, err=True)
