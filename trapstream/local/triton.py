"""One Triton on this machine: the server of the nvidia-pytriton wheel with its Python backend."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

from trapstream.local import processes
from trapstream.local.child import Child
from trapstream.local.health import http_alive, http_status
from trapstream.local.ports import HOST
from trapstream.local.state import StackError

PORTS = ("triton-grpc", "triton-http", "triton-metrics")
REPOSITORY, _BACKENDS = "triton/repository", "triton/backends"
"""In the home."""
STUB = "triton_python_backend_stub"
"""What runs one instance of a model."""
_REGIONS = "backend-"
"""After the stack's prefix: the regions of the Python backend."""


def server_folder() -> Path:
    """Where the wheel keeps the server, found without importing pytriton, which takes seconds."""
    return Path(str(metadata.distribution("nvidia-pytriton").locate_file("pytriton/tritonserver")))


def library_path() -> str:
    """LD_LIBRARY_PATH for the server and its stub: the wheel's libraries, and this interpreter's libpython."""
    parts = [str(server_folder().parents[1] / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR") or ""]
    return ":".join(part for part in (*parts, os.environ.get("LD_LIBRARY_PATH", "")) if part)


def prepare_backends(folder: Path) -> None:
    """Fills a backend directory with the stub for the running Python; the wheel has it elsewhere, for all versions."""
    server, target = server_folder(), folder / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / STUB
    target.mkdir(parents=True, exist_ok=True)
    for source in (stub, *(each for each in (server / "backends" / "python").iterdir() if each.is_file())):
        part = target / f"{source.name}.part"
        shutil.copyfile(source, part)
        part.chmod(0o755)
        part.replace(target / source.name)


def arguments(ports: Mapping[str, int], shm_prefix: str) -> tuple[str, ...]:
    """The server's flags.

    Paths are relative to the home, where the server is started: it puts them into a shell's command line unescaped.
    """
    wanted = {
        "--model-repository": REPOSITORY,
        "--model-control-mode": "explicit",  # more models are loaded while it serves
        "--load-model": "*",
        "--backend-directory": _BACKENDS,
        "--http-address": HOST,
        "--grpc-address": HOST,
        "--metrics-address": HOST,
        "--http-port": str(ports["triton-http"]),
        "--grpc-port": str(ports["triton-grpc"]),
        "--metrics-port": str(ports["triton-metrics"]),
        "--exit-on-error": "false",  # one broken model must not take the others down
        "--strict-readiness": "false",
        "--exit-timeout-secs": "1",  # whoever asked it has ended; unloading takes seconds and is worth nothing then
        "--log-format": "ISO8601",
        "--grpc-infer-allocation-pool-size": "64",
    }
    python = {
        "shm-region-prefix-name": f"{shm_prefix}{_REGIONS}",
        "shm-default-byte-size": str(16 << 20),  # a request of eight images at once without growing
        "shm-growth-byte-size": str(8 << 20),
        "stub-timeout-seconds": "60",
    }
    return (
        *(f"{flag}={value}" for flag, value in wanted.items()),
        *(f"--backend-config=python,{key}={value}" for key, value in python.items()),
    )


def child(home: Path, models: Sequence[str], ports: Mapping[str, int], shm_prefix: str) -> Child:
    """How to start the server. Ready when each of `models` (entries) is; others may load or not. Blocks shortly."""
    prepare_backends(home / _BACKENDS)
    python = Path(sys.executable).parent
    packages = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    return Child(
        name="triton",
        argv=(str(server_folder() / "bin" / "tritonserver"), *arguments(ports, shm_prefix)),
        env={
            "LD_LIBRARY_PATH": library_path(),
            # The stub embeds Python and finds its packages through the first python3 on the path.
            "PATH": f"{python}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": ":".join((*packages, processes.environment(os.environ)["PYTHONPATH"])),
        },
        health=partial(models_ready, ports["triton-http"], home / REPOSITORY, tuple(models)),
        stop_seconds=15.0,
        start_seconds=300.0,  # each instance loads a model of its own
        alive=partial(http_alive, ports["triton-http"], "/v2/health/live"),
        silent_seconds=300.0,  # while it loads a large model it may answer nothing
        ports=tuple(ports[name] for name in PORTS),
        shm_prefix=f"{shm_prefix}{_REGIONS}",
    )


async def models_ready(port: int, repository: Path, models: tuple[str, ...]) -> bool:
    """Ready once server and models are. A server that answers has tried to load them all: no use to wait longer.

    A model whose entry is no longer in the repository was unloaded since the first start, and is not asked for.
    """
    if await http_status(port, "/v2/health/ready") != 200:
        return False
    for model in (each for each in models if (repository / each).is_dir()):
        status = await http_status(port, f"/v2/models/{model}/ready")
        if status is None:
            return False
        if status != 200:
            raise StackError(f"Triton could not load the model {model}; `trapstream logs triton` says why")
    return True
