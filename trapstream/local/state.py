"""The state of a stack as a value, and `stack.json`, where the supervisor leaves it for everyone else."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from trapstream.core.errors import TrapstreamError
from trapstream.local.home import stack_file

Progress = Callable[[str], None]
SERVICES = ("producer", "consumer", "aggregator", "notifier")
"""Takes one line for the user."""
StackState = Literal["starting", "up", "stopping", "down", "failed"]
ProcessState = Literal["waiting", "starting", "up", "restarting", "stopping", "down"]


class StackError(TrapstreamError):
    """The local stack cannot do what was asked. The text is one line that says what to do."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """One supervised process."""

    name: str
    pid: int | None = None
    created: float | None = None
    """Its create time (psutil): with the pid it names a process for ever, the pid alone does not."""
    state: ProcessState = "waiting"
    restarts: int = 0
    last_exit: str | None = None
    """How it last died, in words: "exit status 1", "signal 9"."""


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model that Triton serves by processes of their own."""

    model: str
    """name@version."""
    instances: int
    """How many there should be, for live and bulk images together."""
    alive: int
    loaded_anew: int = 0
    """How often, because an instance had died, since the stack came up."""

    @property
    def words(self) -> str:
        """One line for people; empty where there is nothing to tell."""
        if self.alive < self.instances:
            return f"{self.model}: only {self.alive} of {self.instances} instances live; it is loaded anew"
        if self.loaded_anew:
            times = {1: "once", 2: "twice"}.get(self.loaded_anew, f"{self.loaded_anew} times")
            return f"{self.model}: all {self.instances} instances live; loaded anew {times}, because instances had died"
        return ""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything that others know about a stack."""

    home: str
    state: StackState
    supervisor: Process
    processes: tuple[Process, ...] = ()
    models: tuple[ServedModel, ...] = ()
    endpoints: dict[str, str] = field(default_factory=dict)
    """Name to host:port: `kafka`, `triton-grpc`, `triton-http`, `triton-metrics`, `api`, `events`, and
    `<service>` for its metrics."""
    ports: dict[str, int] = field(default_factory=dict)
    """Kept while the stack is down, so that it comes back where it was."""
    shm_prefix: str = ""
    error: str | None = None
    """Why it failed, in one line."""

    def process(self, name: str) -> Process:
        """The process of that name. Raises KeyError."""
        for process in self.processes:
            if process.name == name:
                return process
        raise KeyError(name)

    def with_process(self, changed: Process) -> "Stack":
        """The same stack with the process of this name replaced."""
        return replace(self, processes=tuple(changed if p.name == changed.name else p for p in self.processes))


def write(home: Path, stack: Stack) -> None:
    """Replaces stack.json as a whole: a reader sees the old one or the new one."""
    path = stack_file(home)
    part = path.with_suffix(f".{os.getpid()}.part")
    kept = replace(stack, home=os.fsencode(stack.home).decode(errors="backslashreplace"))  # JSON is Unicode
    part.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    part.replace(path)


def read(home: Path) -> Stack | None:
    """The stack as last written, or None where there never was one. A file that cannot be read counts as none."""
    try:
        return replace(msgspec.json.decode(stack_file(home).read_bytes(), type=Stack), home=str(home))
    except (FileNotFoundError, msgspec.MsgspecError, ValueError):
        return None  # there is none, or it is from another version: leftovers are found by their environment
