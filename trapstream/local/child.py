"""A child of the supervisor as a value: what to start, how to know that it is well, how to stop it."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Health = Callable[[], Awaitable[bool]]
"""Answers whether the child is ready. Raises StackError where waiting longer is of no use."""


async def always_well() -> bool:
    """The health of a child that is well as soon as it runs."""
    return True


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process to supervise. Stages start one after the other, and stop in the reverse order."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """On top of the supervisor's own environment."""
    stage: int = 0
    """Children of one stage start side by side; the next stage waits until all of them are ready."""
    health: Health = always_well
    alive: Health = always_well
    """Whether it answers anything at all. Asked once it was ready: a busy child may not be ready, but is alive."""
    silent_seconds: float = 60.0
    """One that was ready and answers nothing for so long hangs; it is ended and started again."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15.0
    """After the signal; then the whole process group is killed."""
    start_seconds: float = 60.0
    """Until it must be ready on the stack's first start."""
    ports: tuple[int, ...] = ()
    """It listens on these: a port taken by another process is told apart from other deaths."""
    shm_prefix: str = ""
    """Begins the names of its shared memory, which is removed when it died."""
