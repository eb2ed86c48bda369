"""Shared memory of a stack: found by its prefix, removed when nobody uses it any more."""

from pathlib import Path

SHM = Path("/dev/shm")  # noqa: S108 - that is where POSIX shared memory lives on Linux


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
