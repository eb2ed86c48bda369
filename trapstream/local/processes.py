"""The processes of a stack, and the shared memory that they leave behind: found, ended, removed."""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

import model_repository
from trapstream.core import json_codec
from trapstream.local.home import STACK_VARIABLE
from trapstream.local.state import Process

SHM = Path("/dev/shm")  # noqa: S108 - that is where POSIX shared memory lives on Linux
NO_PACKAGES = Path("/")
"""Where the stack's Python processes run. `python -m` looks for a package in its working directory before all others,
and neither the home nor the user's folder may replace one of ours by a folder called `consumer`. Nothing is written
there: a core dump of such a process goes where the system collects them, or nowhere."""
_PACKAGES = Path(model_repository.__path__[0]).parent
"""Where the packages lie: site-packages, or a checkout that nobody installed."""
_PATHS = ("TRAPSTREAM_HOME", "TRAPSTREAM_CACHE", "TRAPSTREAM_BUNDLE", "TRAPSTREAM_API_KEYS")
_LIST_OF_PATHS = "TRAPSTREAM_ROOTS"
_PR_SET_PDEATHSIG = 1
_LOG_BYTES = 50_000_000


def dies_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the calling process gets SIGTERM when its parent is gone, however it went.

    The library is loaded here and not in the child, where only async-signal-safe calls are in order.
    """
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a module of ours; to be started in NO_PACKAGES with the variables of `environment`."""
    return (sys.executable, "-m", name, *arguments)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process, for one that runs in NO_PACKAGES: relative paths are made absolute."""
    made = dict(given)
    for name in _PATHS:
        if given.get(name):
            made[name] = _absolute(given[name])
    with contextlib.suppress(ValueError, TypeError):  # the consumer says what is wrong with it
        if given.get(_LIST_OF_PATHS):
            made[_LIST_OF_PATHS] = json_codec.encode(
                [_absolute(root) for root in json_codec.decode(given[_LIST_OF_PATHS])]
            ).decode()
    kept = [_absolute(folder) for folder in given.get("PYTHONPATH", "").split(":") if folder]
    made["PYTHONPATH"] = ":".join(dict.fromkeys((str(_PACKAGES), *kept)))
    return made


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def identify(pid: int, name: str) -> Process:
    """The process as it is written into stack.json."""
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = None
    return Process(name=name, pid=pid, created=created, state="starting")


def find(process: Process) -> psutil.Process | None:
    """The running process that is meant, or None where it is gone or its pid is another's by now."""
    if process.pid is None or process.created is None:
        return None
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.created) < 1.0
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def leftovers(prefix: str) -> list[psutil.Process]:
    """What still runs of a stack, by the prefix in its environment; without this process itself."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(STACK_VARIABLE) == prefix and _alive(process) and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def end(processes: Iterable[psutil.Process], seconds: float = 5.0) -> int:
    """SIGTERM, then after `seconds` SIGKILL. Returns how many there were. Blocks."""
    living = list(processes)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for process in living:
            try:
                process.send_signal(signal_number)
            except psutil.NoSuchProcess:
                continue
        if not (left := wait_gone(living, seconds)):
            break
        living = left
    return len(living)


def wait_gone(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits until they have ended; returns those that have not. A zombie has ended: it only waits to be reaped."""
    left, deadline = list(processes), time.monotonic() + seconds
    while (left := [p for p in left if _alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def signal_group(leader: int, number: int) -> bool:
    """Sends a signal to a whole process group. False where it has no member any more."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wait_group_gone(group: int, seconds: float) -> bool:
    """Waits until no member of a process group runs any more. Blocks."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group:
                members.append(process)
        except OSError:
            continue  # gone meanwhile
    return not wait_gone(members, seconds)


def regions(prefix: str) -> list[Path]:
    """The regions whose names begin with `prefix`."""
    return sorted(SHM.glob(f"{prefix}*")) if SHM.is_dir() else []


def sweep(prefix: str) -> int:
    """Removes them; returns how many. Call it only when no process of the stack is left."""
    if not prefix:
        return 0
    found = regions(prefix)
    for region in found:
        region.unlink(missing_ok=True)
    return len(found)


def open_log(path: Path) -> int:
    """A file descriptor that appends to the log. `trim_logs` keeps it small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def trim_logs(folder: Path, most: int = _LOG_BYTES) -> None:
    """Sets aside what is in each log above `most` bytes, and empties it. Blocks. A second time overwrites the first.

    The writers keep their descriptors and append, so they go on at the new beginning. A line written between the copy
    and the emptying is lost.
    """
    for path in folder.glob("*.log"):
        try:
            if path.stat().st_size > most:
                shutil.copyfile(path, path.with_name(f"{path.name}.1"))
                os.truncate(path, 0)
        except OSError:
            # No room for the copy: the disk matters more than old lines. Where even that fails, the next look tries.
            with contextlib.suppress(OSError):
                os.truncate(path, 0)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
