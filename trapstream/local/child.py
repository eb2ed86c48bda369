"""A child of the supervisor: what to start, how to know that it is well, how to stop it, and how it came to its end."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trapstream.local import ports
from trapstream.local.home import log_file

_ASKS = 6
"""So many in a row must go unanswered."""

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
    cwd: Path | None = None
    """Its working directory; None is the home."""
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


async def hung(child: Child) -> None:
    """Returns once `child` has answered nothing for `child.silent_seconds`.

    An ask may take as long as the pause before it, seconds: a busy machine answers late, but it answers. The time of
    an ask is counted twice that at the most, so that a machine that slept, or a supervisor that was stopped itself,
    does not take the others' silence for theirs.
    """
    pause = child.silent_seconds / (2 * _ASKS)
    silent = 0.0
    while silent < child.silent_seconds:
        began = time.monotonic()
        await asyncio.sleep(pause)
        answered = await _answers(child, pause)
        silent = 0.0 if answered else silent + min(time.monotonic() - began, 2 * pause)


async def _answers(child: Child, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await child.alive()
    except TimeoutError:
        return False


async def until_gone(child: Child, process: asyncio.subprocess.Process) -> tuple[str, str]:
    """How the child came to its end, and why. It may still run: then it hangs, and SIGKILL alone is sure to end it."""
    gone, silent = asyncio.create_task(process.wait()), asyncio.create_task(hung(child))
    try:
        await asyncio.wait((gone, silent), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        silent.cancel()
    if process.returncode is not None:
        return "died", in_words(process.returncode)
    silent.result()
    return "hangs", f"no answer for {child.silent_seconds:.0f} s"


def in_words(status: int) -> str:
    """An exit status as `ps` shows it."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def why_it_died(home: Path, child: Child, status: int) -> str:
    """One line for a child that ended before it was ready."""
    taken = [port for port in child.ports if not ports.is_free(port)]
    if taken:
        return f"{child.name} could not start: another program took port {taken[0]}; start again, it gets a new one"
    try:
        lines = log_file(home, child.name).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    last = f": {lines[-1][:200]}" if lines else ""
    return f"{child.name} ended while starting ({in_words(status)}){last}"
