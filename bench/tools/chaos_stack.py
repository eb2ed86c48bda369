"""A stack that is killed from outside, in a home of its own, and how such a run ends."""

import asyncio
import shutil
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import psutil

from bench.stacks import environment
from trapstream.local import control, instances, processes
from trapstream.local.state import StackError

T = TypeVar("T")

_INSTANCES = 2
"""Of the model, for each lane."""
COPIES = {"consumer": 2, "aggregator": 2, "instance": 2 * _INSTANCES}
"""Of each kind: one of them is killed while the others go on."""
_BACK_SECONDS = 120.0
"""A process that was killed must be there again within this."""


class ChaosError(Exception):
    """A promise was broken. The text says which one."""


class Outcome(Protocol):
    """The account of a run."""

    def lines(self) -> list[str]:
        """The account for people."""

    @property
    def well(self) -> bool:
        """Whether every promise held."""


class Stack:
    """The stack that is killed, from outside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.kafka = ""

    async def up(self) -> None:
        """Starts it, or starts it again after its supervisor's death."""
        started = await asyncio.to_thread(control.up, self.home, lambda _: None)
        self.kafka = started.endpoints["kafka"]

    async def kill(self, name: str) -> None:
        """SIGKILL, once there is a process of that name; the supervisor is started again by hand."""
        found = await within(_BACK_SECONDS, f"a running {name}", lambda: self._find(name))
        found.send_signal(signal.SIGKILL)
        await within(30, f"the end of {name}", lambda: not processes.wait_gone([found], 0))
        if name == "supervisor":
            await self.up()

    def _find(self, name: str) -> psutil.Process | None:
        stack = control.running(self.home)
        if stack is None or stack.state != "up":
            return None
        kind, _, number = name.partition("-")
        if kind == "instance":
            return _instance(processes.find(stack.process("triton")), int(number or 0))
        return processes.find(stack.supervisor if name == "supervisor" else stack.process(name))


def _instance(server: psutil.Process | None, number: int) -> psutil.Process | None:
    """One of the model's processes that live: the bulk lane's come first. None where none lives."""
    try:
        found = sorted(instances.living(server), key=lambda each: each[2]) if server is not None else []
        return psutil.Process(found[number % len(found)][0]) if found else None
    except psutil.NoSuchProcess:
        return None


async def within(seconds: float, what: str, look: Callable[[], T | None]) -> T:
    """The first true answer of `look`. ChaosError where none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        await asyncio.sleep(0.1)
    raise ChaosError(f"{what} did not come within {seconds:.0f} s")


def concluded(work: Coroutine[None, None, Outcome], home: Path, more: Mapping[str, str] | None = None) -> int:
    """Does the work on a stack with the bundle in `home` and `more` settings, and prints its account. Returns the exit
    status; the home stays where something was wrong."""
    settings = {
        "TRAPSTREAM_BUNDLE": str(home / "bundle"),
        "TRAPSTREAM_CONSUMERS": str(COPIES["consumer"]),
        "TRAPSTREAM_AGGREGATORS": str(COPIES["aggregator"]),
        "TRAPSTREAM_TRITON_INSTANCES": str(_INSTANCES),
    }
    account = None
    try:
        with environment({**settings, **(more or {})}):
            account = asyncio.run(work)
    except* (ChaosError, StackError) as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"FAILED: {error}", flush=True)
    if account is not None:
        print("\n".join(account.lines()), flush=True)
    if account is None or not account.well:
        print(f"logs: {home / 'logs'}", flush=True)
        return 1
    shutil.rmtree(home, ignore_errors=True)
    return 0
