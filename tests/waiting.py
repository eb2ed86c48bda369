"""The one way in which tests wait: a condition, looked at again and again until a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.1
"""Seconds between two looks."""


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 60.0) -> T:
    """The first true answer of `condition`; an assertion that names `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(_PAUSE)
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")


async def eventually(
    what: str, condition: Callable[[], Awaitable[T | None]], seconds: float = 60.0, pause: float = _PAUSE
) -> T:
    """As `wait_for`, on an event loop. A shorter `pause` catches what does not stay."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := await condition():
            return answer
        await asyncio.sleep(pause)
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")
