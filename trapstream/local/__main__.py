"""`python -m trapstream.local`: one supervisor, as `trapstream up -d` starts it."""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from trapstream.local import plan, processes, state, supervise
from trapstream.local.home import default_home
from trapstream.local.instances import InstanceWatch
from trapstream.local.keeper import Keeper
from trapstream.local.state import SERVICES, Stack, StackError


def stamped(write: Callable[[str], object]) -> Callable[[str], None]:
    """A progress that puts the time before each line, as the supervisor's log has it."""

    def progress(line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk costs the line and not the stack
            write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")

    return progress


def run(
    home: Path, services: tuple[str, ...], progress: Callable[[str], None], on_up: Callable[[Stack], None] | None = None
) -> None:
    """Supervises until a signal; calls `on_up` once everything is ready. Raises StackError."""
    names = plan.copies(services)

    async def keep_models(stack: Stack, note: supervise.Note) -> None:
        watch = InstanceWatch(home, stack.endpoints["triton-http"], lambda: _triton(home), note, progress)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Keeper(home, stack, progress).run())
            tasks.create_task(watch.run())

    asyncio.run(supervise.supervise(home, plan.port_names(names), plan.recipe(names), progress, on_up, keep_models))


def _triton(home: Path) -> psutil.Process | None:
    stack = state.read(home)
    return processes.find(stack.process("triton")) if stack is not None else None


def main() -> int:
    """Returns the exit status: 0 stopped as asked, 3 could not start."""
    parser = argparse.ArgumentParser(description="Supervises the local stack of one home.")
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--services", default=",".join(SERVICES), help="comma-separated, may be empty")
    parser.add_argument("--parent", type=int, help="the process with which the stack goes down")
    options = parser.parse_args()
    if options.parent is not None:
        processes.dies_with_parent()()
        if os.getppid() != options.parent:
            return 0  # it is gone already
    services = tuple(filter(None, options.services.split(",")))

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    progress = stamped(write)
    try:
        run((options.home or default_home()).resolve(), services, progress)
    except StackError as error:
        write(f"{error}\n")  # without the time: whoever waits reads it in stack.json
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
