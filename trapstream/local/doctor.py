"""What a stack needs of this machine, checked one by one: what was found, and how to get what is missing."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from trapstream.core import topics
from trapstream.core.result_store import incoming_folder
from trapstream.local import disk_estimate, jars, triton
from trapstream.local.home import cache_folder
from trapstream.local.processes import SHM

Level = Literal["ok", "note", "missing"]
_GB = 1_000_000_000
OURS = ("aggregator", "bench", "consumer", "model_repository", "notifier", "producer", "trapstream")
"""What Trapstream puts at the top level of an environment; CONTRIBUTING.md says why."""


@dataclass(frozen=True)
class Check:
    """One line of the answer. `note` is worth knowing and stops nothing."""

    name: str
    level: Level
    found: str
    remedy: str = ""


def examine(home: Path) -> list[Check]:
    """All checks, in the order in which things are needed."""
    checks: list[Callable[[], Check]] = [
        environment,
        libpython,
        lambda: jars_cached(cache_folder()),
        lambda: writable(home),
        lambda: disk(shutil.disk_usage(_existing(home)).free),
        lambda: state(home),
        lambda: uploads(home),
        lambda: shared_memory(shutil.disk_usage(SHM).free if SHM.is_dir() else None),
        lambda: memory(psutil.virtual_memory().available),
        gpu,
    ]
    return [check() for check in checks]


def environment(owners: Mapping[str, Collection[str]] | None = None) -> Check:
    """Whether our packages are the only ones of their names: the last one that was installed overwrites the others."""
    found = metadata.packages_distributions() if owners is None else owners
    shared = [(name, other) for name in OURS for other in sorted(set(found.get(name, ())) - {"trapstream"})]
    if shared:
        return Check(
            "environment", "missing", "; ".join(f"{other} has a package {name} too" for name, other in shared),
            "install Trapstream into an environment of its own: python -m venv, pipx, or a container",
        )  # fmt: skip
    return Check("environment", "ok", "no other distribution has a package of Trapstream's names")


def libpython() -> Check:
    """Triton's Python backend embeds Python and needs its shared library."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    environment = {**os.environ, "LD_LIBRARY_PATH": triton.library_path()}
    code = f"import ctypes; ctypes.CDLL({name!r})"
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    if answer.returncode:
        return Check(
            "libpython", "missing", f"{name} is not found",
            "use a Python built with a shared library (the system's libpython package, uv or conda have one)",
        )  # fmt: skip
    return Check("libpython", "ok", name)


def jars_cached(cache: Path) -> Check:
    """Kafka itself."""
    folder = jars.folder(cache)
    if folder.is_dir():
        return Check("kafka", "ok", f"{jars.KAFKA_VERSION} in {folder}")
    return Check("kafka", "note", "not downloaded yet (45 MB)", "the first `trapstream up` downloads it")


def writable(home: Path) -> Check:
    """The state folder."""
    try:
        with tempfile.TemporaryFile(dir=_existing(home)):
            return Check("home", "ok", f"{home} can be written")
    except OSError as error:
        return Check("home", "missing", f"{home}: {error.strerror}", "choose another with --home or TRAPSTREAM_HOME")


def disk(free: int) -> Check:
    """Kafka's log and the results."""
    text = f"{free / _GB:.0f} GB free"
    if free < 1 * _GB:
        return Check("disk", "missing", text, "make room, or choose another --home: at least 1 GB, better 10 GB")
    if free < 10 * _GB:
        return Check("disk", "note", text, "an archive of millions of images needs some 10 GB for Kafka's log")
    return Check("disk", "ok", text)


def state(home: Path) -> Check:
    """What the state folder holds, and how long it stays."""
    kept = "; ".join(f"{topic.name} {topic.retention_ms // topics.DAY_MS} days" for topic in topics.TOPICS)
    parts = ("kafka", "aggregator", "results", "logs")
    sizes = ", ".join(f"{name} {disk_estimate.used(home / name) / 1e6:.0f} MB" for name in parts)
    return Check("state", "ok", f"{sizes}; kept: {kept}; results until you delete them")


def uploads(home: Path) -> Check:
    """What live images take."""
    size = disk_estimate.used(incoming_folder(home / "results"))
    return Check(
        "uploads", "ok", f"{size / 1e6:.0f} MB of uploaded images",
        "TRAPSTREAM_UPLOAD_KEEP_DAYS has them removed so many days after their jobs have ended" if size else "",
    )  # fmt: skip


def shared_memory(free: int | None) -> Check:
    """Pixels travel through it."""
    if free is None:
        return Check("shared memory", "missing", "no /dev/shm", "mount a tmpfs on /dev/shm")
    text = f"{free / 1e6:.0f} MB free in /dev/shm"
    if free < 256_000_000:
        return Check(
            "shared memory", "missing", text, "enlarge it (Docker: --shm-size=1g), or remove what is left there"
        )
    return Check("shared memory", "ok", text)


def memory(available: int) -> Check:
    """Kafka 0.3 GB, Triton 0.3 GB and 0.2 GB for each core, the services 1 GB."""
    text = f"{available / _GB:.1f} GB available"
    if available < 2 * _GB:
        return Check("memory", "missing", text, "at least 2 GB must be free")
    return Check("memory", "ok" if available >= 4 * _GB else "note", text)


def gpu() -> Check:
    """A GPU is welcome and not needed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("gpu", "note", "none: models run on the CPU")
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("gpu", "note", f"nvidia-smi does not answer ({type(error).__name__}): models run on the CPU")
    if answer.returncode or not answer.stdout.strip():
        return Check("gpu", "note", "nvidia-smi sees none: models run on the CPU")
    found = "; ".join(answer.stdout.strip().splitlines())
    absent = [name for name in ("tensorrt", "cuda") if importlib.util.find_spec(name) is None]
    if absent:
        return Check(
            "gpu", "note", f"{found}; without the Python packages {' and '.join(absent)}",
            "`trapstream model build` needs them: pip install 'trapstream[gpu]'",
        )  # fmt: skip
    return Check("gpu", "ok", found)


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists: what would be made is made there."""
    return next(each for each in (path, *path.parents) if each.exists())
