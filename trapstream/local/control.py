"""The stack from outside: start one that goes on by itself, stop it, use the one that is there or a passing one."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import psutil

from trapstream.local import claim, processes, state
from trapstream.local.home import log_file, users_file
from trapstream.local.state import Progress, Stack, StackError

_START_SECONDS = 600.0
"""Most of it would be a download over a slow line; the supervisor has its own, shorter deadlines for each child."""
_LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]+Z (.*)$")


def running(home: Path) -> Stack | None:
    """The stack of this home while a supervisor is there, whatever its state; else None."""
    return state.read(home) if claim.supervisor(home) is not None else None


def up(home: Path, progress: Progress, services: tuple[str, ...] | None = None, *, passing: bool = False) -> Stack:
    """Starts a detached supervisor, or waits for the one that is starting. Returns once the stack is up.

    A `passing` one goes down when this process ends, even by SIGKILL; then call it in the main thread, since Linux
    watches the thread. Raises StackError. Interrupted (KeyboardInterrupt), it takes down what it started.
    """
    log = log_file(home, "supervisor")
    output = processes.open_log(log)
    seen = log.stat().st_size
    started: subprocess.Popen[bytes] | None = None
    try:
        if claim.supervisor(home) is None:
            arguments = [] if services is None else ["--services", ",".join(services)]
            if passing:
                arguments += ["--parent", str(os.getpid())]
            started = subprocess.Popen(
                processes.python_module("trapstream.local", "--home", str(home.absolute()), *arguments),
                cwd=processes.NO_PACKAGES, env=processes.environment(os.environ),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return _until_up(home, log, seen, started, progress)
    except BaseException:
        if started is not None and started.poll() is None:
            started.terminate()
            _wait_for_end(started)
        raise
    finally:
        os.close(output)


def down(home: Path, progress: Progress, seconds: float = 120.0) -> bool:
    """Stops the stack and leaves nothing behind, even where its supervisor was killed. False where none ran."""
    supervisor = claim.supervisor(home)
    if supervisor is not None:
        progress("stopping")
        _signal(supervisor, signal.SIGTERM)
        if processes.wait_gone([supervisor], seconds):
            _signal(supervisor, signal.SIGTERM)  # a second one forces
            if processes.wait_gone([supervisor], 10):
                _signal(supervisor, signal.SIGKILL)
                processes.wait_gone([supervisor], 10)
    from trapstream.local import supervise  # noqa: PLC0415 - slow to import, and seldom needed

    supervise.clean(home, progress)
    return supervisor is not None


@contextlib.contextmanager
def ensure_stack(home: Path, progress: Progress) -> Iterator[tuple[Stack, bool]]:
    """A stack that is up, and whether it is a passing one: that is taken down at the end, by whoever brought it up,
    once nobody else uses it."""
    home.mkdir(parents=True, exist_ok=True)
    with users_file(home).open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for one that is being taken down
        there = claim.supervisor(home) is not None
        stack = up(home, progress, passing=True)
        try:
            yield stack, not there
        finally:
            if not there:
                _wait_for_others(users, progress)
                down(home, progress)


def _wait_for_others(users: TextIO, progress: Progress) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress("another run uses this stack still: waiting for it before taking the stack down")
        fcntl.flock(users, fcntl.LOCK_EX)


def _until_up(home: Path, log: Path, seen: int, started: subprocess.Popen[bytes] | None, progress: Progress) -> Stack:
    deadline = time.monotonic() + _START_SECONDS
    lonely_since: float | None = None
    with log.open(errors="replace") as lines:
        lines.seek(seen)
        while True:
            alone = claim.supervisor(home) is None and (started is None or started.poll() is not None)
            for line in lines.readlines():
                if match := _LINE.match(line):
                    progress(match[1])
            stack = state.read(home)
            if stack is not None and stack.state == "up" and _is_of(stack, home):
                return stack
            # Between taking the lock and writing its name there a supervisor cannot be seen, so look twice.
            lonely_since = (lonely_since or time.monotonic()) if alone else None
            if lonely_since is not None and time.monotonic() - lonely_since > 1.0:
                raise StackError(stack.error if stack and stack.error else f"the supervisor ended; {log} says more")
            if time.monotonic() > deadline:
                raise StackError(f"the stack was not up after {_START_SECONDS:.0f} s; {log} says more")
            time.sleep(0.1)


def _wait_for_end(supervisor: subprocess.Popen[bytes]) -> None:
    """It stops its children first; a second Ctrl-C forces it."""
    try:
        supervisor.wait()
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()


def _is_of(stack: Stack, home: Path) -> bool:
    """Whether the supervisor that runs now wrote this: an old file may say that all is up."""
    supervisor = claim.supervisor(home)
    return supervisor is not None and supervisor.pid == stack.supervisor.pid


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
