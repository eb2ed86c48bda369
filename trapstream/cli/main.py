"""The entry point: the verbs, what all of them share, and the one place where errors become a line and a status."""

import os
import sys
import time
import traceback
from pathlib import Path

import click

from trapstream import __version__
from trapstream.cli.context import Context
from trapstream.cli.exits import COULD_NOT_START, FAILED, INTERRUPTED, USAGE, CommandError
from trapstream.cli.verbs import Verbs
from trapstream.core import log
from trapstream.core.errors import Fatal, TrapstreamError
from trapstream.local.home import default_home, log_file
from trapstream.local.state import StackError

VERBS = {
    "run": "trapstream.cli.run:run",
    "up": "trapstream.cli.stack:up",
    "down": "trapstream.cli.stack:down",
    "ps": "trapstream.cli.stack:ps",
    "logs": "trapstream.cli.stack:logs",
    "doctor": "trapstream.cli.stack:doctor",
    "submit": "trapstream.cli.jobs:submit",
    "watch": "trapstream.cli.watch:watch",
    "status": "trapstream.cli.jobs:status",
    "results": "trapstream.cli.jobs:results",
    "verify": "trapstream.cli.verify:verify",
    "cancel": "trapstream.cli.jobs:cancel",
    "rebuild": "trapstream.cli.rebuild:rebuild",
    "dead-letters": "trapstream.cli.dead_letters:dead_letters",
    "model": "trapstream.cli.verbs:model",
}
"""Verb to `module:command`, in the order of the help. A module is imported when its verb is used."""
REGISTERED = "trapstream.verbs"
"""The group of entry points of verbs from rooms above the command, such as `bench`."""


@click.group(
    cls=Verbs, table=VERBS, registered=REGISTERED,
    context_settings={"auto_envvar_prefix": "TRAPSTREAM", "help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="The folder of all state.  [default: TRAPSTREAM_HOME, or the user's data folder]",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
@click.version_option(__version__, package_name="trapstream", message="trapstream %(version)s")
@click.pass_context
def cli(context: click.Context, home: Path | None, verbose: bool) -> None:
    """Finds the animals, people and vehicles in camera-trap photographs, as they arrive and in whole archives."""
    known: list[Context] = context.obj
    context.obj = Context(home=home.expanduser().resolve() if home else default_home())
    known.append(context.obj)
    log.setup(level="info" if verbose else "warning")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns its status: 0 done, 1 failed, 2 wrong usage, 3 could not start, 130 interrupted."""
    known: list[Context] = []  # the options before the verb, once they are read
    try:
        status = cli.main(args=arguments, prog_name="trapstream", standalone_mode=False, obj=known)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return _explained(error, log_file(known[0].home if known else default_home(), "cli"))
    return status if isinstance(status, int) else 0


def _explained(error: BaseException, logged: Path) -> int:
    """Says in one line what went wrong; returns the status."""
    status = FAILED
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            error.show()
            return USAGE if isinstance(error, click.UsageError) else FAILED
        case click.Abort() | KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            # The reader of our output has gone. Python would complain again when it closes standard output.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case CommandError():
            status = error.status
        case StackError() | Fatal():
            status = COULD_NOT_START
        case TrapstreamError():
            pass
        case OSError() if error.filename is not None:
            error = TrapstreamError(f"{os.fsdecode(error.filename)}: {error.strerror}")
        case _:
            _append("".join(traceback.format_exception(error)), logged)
            error = TrapstreamError(f"unexpected {type(error).__name__}: {error} (details in {logged})")
    click.echo(f"trapstream: {' '.join(str(error).split())}", err=True)
    return status


def _append(text: str, logged: Path) -> None:
    try:
        logged.parent.mkdir(parents=True, exist_ok=True)
        with logged.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {' '.join(sys.argv)}\n{text}\n")
    except OSError:
        click.echo(text, err=True)  # nowhere else to put it


if __name__ == "__main__":
    sys.exit(main())
