"""One policy for what may go away by itself: a few attempts with back-off, then it is given up."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from trapstream.core.errors import Permanent, Reason

T = TypeVar("T")


class Transient(Exception):
    """Worth another attempt. `failure` is what it becomes after the last one; its text holds no secret."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.failure = Permanent(reason, detail)
        super().__init__(str(self.failure))


async def attempt(call: Callable[[], Awaitable[T]], attempts: int, longest_wait: float = 5.0) -> T:
    """The answer of `call`, tried at most `attempts` times. The last Transient after that."""
    async for trial in stamina.retry_context(
        on=Transient, attempts=attempts, timeout=None, wait_initial=0.2, wait_max=longest_wait, wait_jitter=0.2
    ):
        with trial:
            return await call()
    raise AssertionError("the last attempt returns or raises")
