"""The one way in which tests wait: a condition, looked at again and again until a deadline.

A deadline only exists to end what hangs, so it grows with the machine: PATIENCE is the one factor for all of them.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.1
"""Seconds between two looks."""
_QUICK = 0.004
"""Seconds that `_work` takes on a quick machine that does nothing else."""


def _work() -> float:
    began = time.perf_counter()
    sum(number * number % 7 for number in range(200_000))
    return time.perf_counter() - began


def _measured() -> float:
    return round(3 * max(1.0, min(_work() for _ in range(5)) / _QUICK), 1)


PATIENCE = float(os.environ.setdefault("TESTS_PATIENCE", str(_measured())))
"""How many times longer a test may take than it does on a quick, idle machine. The first process measures it, and all
that it starts have it from the environment. The 3 is for what other processes take meanwhile."""


def patient(seconds: float) -> float:
    """The deadline on this machine of what may take `seconds` on a quick, idle one."""
    return seconds * PATIENCE


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 30.0) -> T:
    """The first true answer of `condition`; an assertion that names `what` after the deadline."""
    deadline = time.monotonic() + patient(seconds)
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(_PAUSE)
    raise AssertionError(f"{what} did not come within {patient(seconds):.0f} s")


async def eventually(
    what: str, condition: Callable[[], Awaitable[T | None]], seconds: float = 30.0, pause: float = _PAUSE
) -> T:
    """As `wait_for`, on an event loop. A shorter `pause` catches what does not stay."""
    deadline = time.monotonic() + patient(seconds)
    while time.monotonic() < deadline:
        if answer := await condition():
            return answer
        await asyncio.sleep(pause)
    raise AssertionError(f"{what} did not come within {patient(seconds):.0f} s")
