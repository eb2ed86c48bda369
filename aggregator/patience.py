"""Waiting for a disk that refuses: full, read-only, or away. Nothing fails; it goes on by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aggregator.lease import Lease, Released
from trapstream.core import log, metrics, retry
from trapstream.core.errors import Retryable

T = TypeVar("T")

STORE = "aggregator store"
RESULTS = "result store"


async def patiently(lease: Lease, what: str, call: Callable[[], Awaitable[T]], tell: Callable[[str | None], None]) -> T:
    """The answer of `call`, however long `what` refuses. `tell` gets a line for users, and None once it is back.

    Released if the partition goes to another process meanwhile.
    """
    waited = False
    for delay in retry.delays():
        try:
            answer = await call()
        except Retryable as error:
            waited = True
            log.get_logger().warning("waiting", on=what, partition=lease.partition, error=str(error))
            metrics.WAITING.labels(what).set(1)
            tell(f"waiting for the {what}: {error}")
        else:
            if waited:
                log.get_logger().info("back", what=what, partition=lease.partition)
                metrics.WAITING.labels(what).set(0)
                tell(None)
            return answer
        await asyncio.sleep(delay)
        if lease.released.is_set():
            raise Released
    raise AssertionError("delays never end")
