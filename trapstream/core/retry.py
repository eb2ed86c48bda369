"""The one back-off policy, for what must be waited for rather than given up on.

Bounded retries of one image use stamina; these delays are for a server that is away. Waiting for it is not a
failure, so it has no last attempt, but it says so each time.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Self, TypeVar

from trapstream.core import log, metrics
from trapstream.core.errors import Retryable

T = TypeVar("T")

_waiting: Counter[str] = Counter()
"""How many of this process wait for each service."""


class Waiter:
    """One who may have to wait for `what`. The metric `trapstream_waiting` is 1 while any waiter of the process waits.

    A context manager: however it is left, this waiter no longer waits.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.waits = False

    def set(self, waits: bool) -> None:
        """Says whether it waits now. Saying the same again changes nothing."""
        _waiting[self._what] += waits - self.waits
        self.waits = waits
        metrics.WAITING.labels(self._what).set(1 if _waiting[self._what] else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.waits:
            self.set(False)


def delays(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each next attempt: doubling up to `most`, with a quarter of jitter."""
    delay = first
    while True:
        yield delay * random.uniform(0.75, 1.25)
        delay = min(delay * 2, most)


async def until_back(call: Callable[[], Awaitable[T]], what: str, most: float = 5.0) -> T:
    """The answer of `call`, however long the other side is away. Every wait is logged."""
    waited = 0.0
    with Waiter(what) as waiter:
        for delay in delays(most=most):
            try:
                answer = await call()
            except Retryable as error:
                log.get_logger().warning("waiting", on=what, error=str(error), seconds=round(waited, 1))
                waiter.set(True)
            else:
                if waiter.waits:
                    log.get_logger().info("back", what=what, seconds=round(waited, 1))
                return answer
            await asyncio.sleep(delay)
            waited += delay
    raise AssertionError("delays never end")
