"""Ends what a process that runs tests leaves behind, however it ended: a process beside it that waits for its end.

`python -m tests.guard MARK PARENT FOLDER`: whatever has MARK in its environment is ended, and the shared memory of each
stack that lived in FOLDER is removed. Exit status 1 where there was anything.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from trapstream.local import processes
from trapstream.local.home import STACK_VARIABLE, lock_file, shm_prefix

MARK = "TESTED_BY"
"""In the environment of all that a process which runs tests has started."""
_GRACE_SECONDS = 10.0
"""What ends by itself within them was not left behind."""


def start(folder: Path) -> "subprocess.Popen[str]":
    """A guard for this process, which tells it by SIGUSR1 that the tests have ended. Call it in the main thread: Linux
    tells the guard of the end of the thread that started it."""
    os.environ.pop(MARK, None)
    mark = f"{os.getpid()}-{time.time_ns()}"
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.guard", mark, str(os.getpid()), str(folder)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert guard.stdout is not None
    assert guard.stdout.readline() == "ready\n"
    os.environ[MARK] = mark
    return guard


def _left(mark: str, parent: int) -> dict[psutil.Process, tuple[str, str]]:
    """What runs with the mark: the prefix of its stack's shared memory, where it is one's, and its command."""
    found = {}
    for process in psutil.process_iter():
        try:
            around, command = process.environ(), " ".join(process.cmdline())
            runs = process.pid != parent and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
        if runs and around.get(MARK) == mark and "resource_tracker" not in command:  # Python's own: it ends by itself
            found[process] = around.get(STACK_VARIABLE, ""), command[:200]
    return found


def main(mark: str, parent: int, folder: Path) -> int:
    """Waits for the end of the parent or its word, then ends and removes what is left."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    processes.dies_with_parent()()
    print("ready", flush=True)
    told = signal.sigwait({signal.SIGTERM, signal.SIGUSR1}) if os.getppid() == parent else signal.SIGTERM
    if lives := told == signal.SIGUSR1:
        processes.wait_gone(_left(mark, parent), _GRACE_SECONDS)
    prefixes = {shm_prefix(lock.parent) for lock in folder.rglob(lock_file(Path()).name)}
    said = []
    while left := _left(mark, parent):  # again: what was being started just now too
        prefixes |= {prefix for prefix, _ in left.values() if prefix}
        said += [command for _, command in left.values()]
        processes.end(left)
    said += [str(region) for prefix in prefixes for region in processes.regions(prefix)]
    for prefix in prefixes:
        processes.sweep(prefix)
    for line in said:
        print(f"left behind by tests, and ended or removed: {line}", file=sys.stdout if lives else sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
