"""`up`, `down`, `ps`, `logs`, `doctor`: the local stack and its machine."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click
import psutil
from rich.console import Console
from rich.table import Table

from trapstream.cli.context import Context, say
from trapstream.core import json_codec
from trapstream.local import control, processes
from trapstream.local.home import log_file
from trapstream.local.state import SERVICES, Process, Stack

_SIGNS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


@click.command()
@click.option("-d", "--detach", is_flag=True, help="Return once the stack is up; it goes on in the background.")
@click.option("--services", default=",".join(SERVICES), show_default=True, help="The services to start.")
@click.pass_obj
def up(context: Context, detach: bool, services: str) -> None:
    """Start Kafka, Triton and the services on this machine. Ctrl-C stops them."""
    names = tuple(filter(None, services.split(",")))
    if (there := control.running(context.home)) is not None:
        say(f"a stack is running already in {context.home}")
        _print_endpoints(there if there.state == "up" else control.up(context.home, say, names))
    elif detach:
        _print_endpoints(control.up(context.home, say, names))
    else:
        _foreground(context.home, names)


@click.command()
@click.pass_obj
def down(context: Context) -> None:
    """Stop the stack. Leaves no process and no shared memory behind; jobs and results stay."""
    if not control.down(context.home, say):
        say(f"no stack is running in {context.home}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def ps(context: Context, as_json: bool) -> None:
    """Show the processes of the stack and where they answer."""
    stack = control.running(context.home)
    if as_json:
        click.echo(json_codec.encode_indented(_as_json(context.home, stack)))
    elif stack is None:
        say(f"no stack is running in {context.home}; `trapstream up -d` starts one")
    else:
        _print_processes(stack)
        _print_endpoints(stack)


@click.command()
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many old lines.")
@click.pass_obj
def logs(context: Context, service: str | None, follow: bool, lines: int) -> None:
    """Show the logs of one process, or of all."""
    folder = log_file(context.home, "x").parent
    paths = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if service is not None and service not in paths:
        raise click.UsageError(f"no log of {service!r}; there are: {', '.join(paths) or 'none yet'}")
    chosen = {service: paths[service]} if service else paths
    opened = {name: path.open(errors="replace") for name, path in chosen.items()}
    for name, file in opened.items():
        for line in _last(file, lines):
            _print_line(name, line, len(opened))
    while follow:
        quiet = True
        for name, file in opened.items():
            if file.tell() > os.fstat(file.fileno()).st_size:
                file.seek(0)  # it grew too large, and was emptied
            while line := file.readline():
                _print_line(name, line, len(opened))
                quiet = False
        if quiet:
            time.sleep(0.2)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def doctor(context: Context, as_json: bool) -> int:
    """Check this machine. Status 3 where something is missing that a stack needs."""
    from trapstream.local.doctor import examine  # noqa: PLC0415 - slow to import, only needed here

    found = examine(context.home)
    missing = [check for check in found if check.level == "missing"]
    if as_json:
        click.echo(json_codec.encode_indented({"ok": not missing, "checks": [asdict(check) for check in found]}))
    else:
        for check in found:
            click.echo(f"{_SIGNS[check.level]}  {check.name}: {check.found}")
            if check.remedy:
                click.echo(f"         {check.remedy}")
        say("something is missing" if missing else "this machine can run Trapstream")
    return 3 if missing else 0


def _foreground(home: Path, services: tuple[str, ...]) -> None:
    from trapstream.local import __main__ as supervisor  # noqa: PLC0415 - slow to import, only needed here

    with os.fdopen(processes.open_log(log_file(home, "supervisor")), "a", buffering=1) as file:
        write = supervisor.stamped(file.write)

        def progress(line: str) -> None:
            say(line)
            write(line)

        supervisor.run(home, services, progress, _print_endpoints)


def _as_json(home: Path, stack: Stack | None) -> dict[str, object]:
    if stack is None:
        return {"home": str(home), "state": "down", "processes": [], "models": [], "endpoints": {}}
    return {
        "home": stack.home,
        "state": stack.state,
        "supervisor": _measured(stack.supervisor),
        "processes": [_measured(process) for process in stack.processes],
        "models": [asdict(model) for model in stack.models],
        "endpoints": stack.endpoints,
        "shm_prefix": stack.shm_prefix,
    }


def _measured(process: Process) -> dict[str, object]:
    uptime, rss = None, None
    found = processes.find(process)
    if found is not None and process.created is not None:
        uptime = round(time.time() - process.created, 1)
        try:
            # Triton's stubs count as Triton; a supervisor's children are processes of their own.
            whole = [found] if process.name == "supervisor" else [found, *found.children(recursive=True)]
            rss = sum(each.memory_info().rss for each in whole)
        except psutil.Error:
            rss = None  # it ended just now
    return {
        "name": process.name,
        "pid": process.pid,
        "state": process.state,
        "restarts": process.restarts,
        "last_exit": process.last_exit,
        "uptime": uptime,
        "rss": rss,
    }


def _print_processes(stack: Stack) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("process", "pid", "state", "restarts", "up", "memory", "last exit"):
        table.add_column(column, justify="right" if column in {"pid", "restarts", "up", "memory"} else "left")
    for process in (*stack.processes, stack.supervisor):
        values = _measured(process)
        uptime = f"{values['uptime']:.0f} s" if values["uptime"] is not None else "-"
        memory = f"{values['rss'] / 1e6:.0f} MB" if isinstance(values["rss"], int) else "-"
        restarts, last = str(process.restarts), process.last_exit or "-"
        table.add_row(process.name, str(process.pid or "-"), process.state, restarts, uptime, memory, last)
    Console().print(table)
    for words in filter(None, (model.words for model in stack.models)):
        click.echo(words)


def _print_endpoints(stack: Stack) -> None:
    width = max((len(name) for name in stack.endpoints), default=0)
    for name, address in stack.endpoints.items():
        click.echo(f"{name:{width}}  {address}")


def _last(file: TextIO, count: int) -> Iterator[str]:
    """The last lines of a file of any size: only its end is read."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 400 * count - 4096))
    lines = file.readlines()
    yield from lines[len(lines) - count :] if count and len(lines) > count else (lines if count else [])


def _print_line(name: str, line: str, files: int) -> None:
    click.echo(f"{name} | {line}" if files > 1 else line, nl=not line.endswith("\n"))
