"""How a child of the supervisor comes to its end, in words."""

import asyncio
from pathlib import Path

from trapstream.local import liveness, ports
from trapstream.local.child import Child
from trapstream.local.home import log_file


async def until_gone(child: Child, process: asyncio.subprocess.Process) -> tuple[str, str]:
    """How the child came to its end, and why. It may still run: then it hangs, and SIGKILL alone is sure to end it."""
    gone, silent = asyncio.create_task(process.wait()), asyncio.create_task(liveness.hung(child))
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
