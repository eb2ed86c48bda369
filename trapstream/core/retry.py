"""The one back-off policy, for what must be waited for rather than given up on.

Bounded retries of one image use stamina; these delays are for a server that is away. Waiting for it is not a
failure, so it has no last attempt, but it says so each time.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from trapstream.core import log, metrics
from trapstream.core.errors import Retryable

T = TypeVar("T")

_waiting: Counter[str] = Counter()
"""How many of this process wait for each."""


def delays(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each next attempt: doubling up to `most`, with a quarter of jitter."""
    delay = first
    while True:
        yield delay * random.uniform(0.75, 1.25)
        delay = min(delay * 2, most)


async def until_back(call: Callable[[], Awaitable[T]], what: str, most: float = 5.0) -> T:
    """The answer of `call`, however long the other side is away. Every wait is logged."""
    waited, failed = 0.0, False
    try:
        for delay in delays(most=most):
            try:
                answer = await call()
            except Retryable as error:
                log.get_logger().warning("waiting", on=what, error=str(error), seconds=round(waited, 1))
                if not failed:
                    failed = True
                    _count(what, 1)
            else:
                if failed:
                    log.get_logger().info("back", what=what, seconds=round(waited, 1))
                return answer
            await asyncio.sleep(delay)
            waited += delay
    finally:
        if failed:  # also where the wait ends in an error, or is given up
            _count(what, -1)
    raise AssertionError("delays never end")


def _count(what: str, change: int) -> None:
    _waiting[what] += change
    metrics.WAITING.labels(what).set(1 if _waiting[what] else 0)
