"""Fault points, for tests only: a process that is told to dies by SIGKILL at a numbered step, once.

`TRAPSTREAM_FAULT=emit.3:40` kills the process that comes to the end of step 3 of emit for the 40th time; several points
stand with commas between them. A marker in the home keeps a point from killing again, so whoever starts the process
anew needs to change nothing. Without the variable `reach` is a function that does nothing.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

VARIABLE = "TRAPSTREAM_FAULT"

POINTS = (
    *(f"publish.{step}" for step in ("1", "2", "3", "4", "5", "6", "7")),
    *(f"arrive.{step}" for step in ("1", "2", "within-3", "3", "4")),
    *(f"carry.{step}" for step in ("1", "2", "3", "4", "5", "6")),
    "clean.1",
    *(f"emit.{step}" for step in ("1", "2", "3", "4", "5")),
    *(f"fold.{step}" for step in ("1", "2", "within-3", "3", "4")),
    *(f"deliver.{step}" for step in ("1", "2")),
    *(f"finalise.{step}" for step in ("within-1", "1", "2", "3", "4", "within-5", "5")),
)
"""A step's number is its end; `within` is its middle."""


def marker(home: Path, point: str) -> Path:
    """The file that says that `point` has killed."""
    return home / f"fault-{point}"


def armed(wanted: str, home: Path) -> Callable[[str], None]:
    """A `reach` that kills as `wanted` says. ValueError for a point that there is not."""
    left: dict[str, int] = {}
    for each in wanted.split(","):
        point, _, times = each.partition(":")
        if point not in POINTS:
            raise ValueError(f"{VARIABLE}: there is no point {point}")
        left[point] = int(times or 1)

    def kill(point: str) -> None:
        if point not in left:
            return
        left[point] -= 1
        if left[point] > 0:
            return
        try:
            marker(home, point).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return kill


def _nothing(_: str) -> None:
    """No process dies by itself."""


reach: Callable[[str], None] = (
    armed(os.environ[VARIABLE], Path(os.environ["TRAPSTREAM_HOME"])) if os.environ.get(VARIABLE) else _nothing
)
"""Marks a point in the code. It does not return where the process shall die there."""
