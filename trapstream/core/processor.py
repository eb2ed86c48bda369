"""The cores that this process may use, and how long they were busy: the container's where it is limited, else the
machine's."""

import contextlib
import os
from pathlib import Path

import psutil

_GROUP = Path("/sys/fs/cgroup")
"""What a container sees of its own control group (version 2)."""


def busy_seconds(group: Path = _GROUP) -> tuple[float, float]:
    """Cores, and the seconds in which they were busy since some moment, summed over them."""
    allowed = os.sched_getaffinity(0)
    quota = _quota(group)
    if quota is not None and quota[0] < len(allowed):
        return quota
    busy = 0.0
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        if number in allowed:
            busy += sum(times) - times.idle - times.iowait - times.guest - times.guest_nice  # a guest's are user's too
    return float(len(allowed)), busy


def _quota(group: Path) -> tuple[float, float] | None:
    """The group's limit in cores and its use in seconds; None where it has no limit."""
    with contextlib.suppress(OSError, ValueError):
        most, period = (group / "cpu.max").read_text().split()
        used = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        return int(most) / int(period), int(used["usage_usec"]) / 1e6
    return None
