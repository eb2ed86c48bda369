"""The machine and the code that a figure belongs to: commit, versions, processor, memory, GPU, and the load."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from trapstream import __version__

_PACKAGES = (
    "aiokafka", "msgspec", "numpy", "nvidia-dali-cuda120", "nvidia-pytriton", "onnxruntime", "opencv-python-headless",
    "tritonclient", "uvloop",
)  # fmt: skip
_ROOT = Path(__file__).parents[1]


def describe() -> dict[str, object]:
    """Everything but the load, which changes."""
    return {
        "commit": commit(),
        "trapstream": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": _gpu(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def commit() -> str:
    """The checkout's commit, with `+` where files differ from it; `unknown` outside one."""
    short, changed = _ask("git", "-C", str(_ROOT), "rev-parse", "--short=10", "HEAD"), ""
    if short:
        changed = _ask("git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{short}+" if short and changed else short or "unknown"


def busy() -> float:
    """Processes that ran or waited to run, on average over the last minute: more than the cores is a busy machine."""
    return round(os.getloadavg()[0], 1)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _gpu() -> str | None:
    """Name, driver, memory and clocks; None without one."""
    wanted = "name,driver_version,memory.total,clocks.sm,clocks.mem"
    return _ask("nvidia-smi", f"--query-gpu={wanted}", "--format=csv,noheader") or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
