"""A command, called as a user calls it: what it says, how long it takes, how much memory all of it has at the most."""

import subprocess
import time
from pathlib import Path

import psutil

from bench.stacks import BenchError


def called(command: list[str], log: Path) -> tuple[str, float, int]:
    """What a command says, how long it takes in seconds, and its most memory in bytes, looked at once a second.

    What it prints goes to `log`. BenchError where it fails.
    """
    began, most = time.perf_counter(), 0
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while (status := _status(process)) is None:
                most = max(most, _memory(process.pid))
        finally:
            process.terminate()  # nothing where it has ended: it does not outlive whoever asked for it
    seconds, said = time.perf_counter() - began, log.read_text(errors="replace")
    if status:
        raise BenchError(f"{' '.join(command)} ended with {status}: {(said.strip().splitlines() or [''])[-1]}")
    return said, seconds, most


def _status(process: subprocess.Popen[bytes]) -> int | None:
    """Its exit status, waited for for a second; None while it runs."""
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        return None


def _memory(pid: int) -> int:
    """Of a process and all below it; what several share counts once."""
    total = 0
    try:
        found = psutil.Process(pid)
        below = found.children(recursive=True)
    except psutil.Error:  # it has just ended
        return 0
    for one in (found, *below):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total
