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

from trapstream.local import processes, shm
from trapstream.local.home import STACK_MARK, lock_file, shm_prefix

MARK = "TESTED_BY"
"""In the environment of all that a process which runs tests has started."""
_GRACE_SECONDS = 10.0
"""What ends by itself within them was not left behind."""


def start(folder: Path) -> "subprocess.Popen[str]":
    """A guard for this process, told by SIGTERM that the tests have ended. Call it in the main thread: Linux tells the
    guard of the end of the thread that started it."""
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


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            running = process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
            if running and not any("resource_tracker" in word for word in process.cmdline()):  # Python's own, which
                found.append(process)  # ends with its parent
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def main(mark: str, parent: int, folder: Path) -> int:
    """Waits for the end of the parent or its word, then ends and removes what is left."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    processes.dies_with_parent()()
    print("ready", flush=True)
    if os.getppid() == parent:
        signal.sigwait({signal.SIGTERM})
    if lives := os.getppid() == parent:  # then only what does not end by itself was left behind
        left = processes.wait_gone([each for each in _marked(mark) if each.pid != parent], _GRACE_SECONDS)
    else:
        left = _marked(mark)
    prefixes = {shm_prefix(lock.parent) for lock in folder.rglob(lock_file(Path()).name)}
    said = []
    while left:  # what was being started just now too
        prefixes |= {each.environ().get(STACK_MARK, "") for each in left if each.is_running()}
        said += [" ".join(each.cmdline())[:200] for each in left if each.is_running()]
        processes.end(left)
        left = [each for each in _marked(mark) if each.pid != parent]
    said += [str(region) for prefix in prefixes if prefix for region in shm.regions(prefix)]
    for prefix in prefixes:
        shm.sweep(prefix)
    for line in said:
        print(f"left behind by tests, and ended or removed: {line}", file=sys.stdout if lives else sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
