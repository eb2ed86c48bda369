"""Services that the benchmark starts itself, beside a stack without them: their number and settings change."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bench.stacks import Bench, BenchError, usual_environment
from trapstream.local import ports

_READY_SECONDS = 90.0
_STOP_SECONDS = 30.0
_ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def service(
    bench: Bench, name: str, number: int = 0, settings: Mapping[str, str] | None = None, module: tuple[str, ...] = ()
) -> Iterator[Bench]:
    """One service that is ready, gone afterwards. Yields the stack with its endpoint, for what asks the services.

    `module` runs in place of the service's own, with its arguments.
    """
    member = f"{name}-{number}" if number else name
    port = ports.choose((member,), {})[member]
    log = bench.home / "logs" / f"bench-{member}.log"
    environment = service_environment(bench, member, {"TRAPSTREAM_HTTP_PORT": str(port), **(settings or {})})
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(module or (name,))], env=environment, stdout=output, stderr=output
        )
    try:
        _until_ready(process, port, log)
        yield Bench(replace(bench.stack, endpoints=bench.stack.endpoints | {member: f"{ports.HOST}:{port}"}))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def service_environment(bench: Bench, member: str, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a service beside `bench`: these settings, and the usual ones for the rest."""
    return usual_environment() | {
        "PYTHONPATH": f"{_ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "TRAPSTREAM_HOME": str(bench.home),
        "TRAPSTREAM_KAFKA": bench.kafka,
        "TRAPSTREAM_TRITON": bench.triton,
        "TRAPSTREAM_SHM_PREFIX": f"{bench.stack.shm_prefix}bench",
        "TRAPSTREAM_MEMBER": f"bench-{member}",
        "TRAPSTREAM_LOG_FORMAT": "json",
        **(settings or {}),
    }


def _until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{ports.HOST}:{port}/healthz", timeout=2):
            return
        time.sleep(0.1)
    raise BenchError(f"a service did not come up; {log} says why")
