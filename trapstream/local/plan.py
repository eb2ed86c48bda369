"""What a stack consists of: the list of children, made from its home, its ports and what is wanted."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from trapstream.local import broker, deploying, jars, processes, repository, triton
from trapstream.local.child import Child
from trapstream.local.health import http_alive, http_ok
from trapstream.local.home import cache_folder, shm_prefix
from trapstream.local.ports import HOST
from trapstream.local.state import Progress, StackError

_COPIES = {"consumer": "TRAPSTREAM_CONSUMERS", "aggregator": "TRAPSTREAM_AGGREGATORS"}
"""Services of which several may run, and the variables that say how many."""
_DOORS = {"producer": "api", "notifier": "events"}
"""Services that others ask over HTTP, and the names of their ports."""


Recipe = Callable[[Path, Mapping[str, int], Progress], Awaitable[tuple[Child, ...]]]
"""Makes the children, in the order of their start. Tests bring their own."""


def port_names(services: tuple[str, ...]) -> tuple[str, ...]:
    """The ports of a stack; those that others connect to are its endpoints."""
    doors = tuple(door for service, door in _DOORS.items() if service in services)
    return (*broker.PORTS, *triton.PORTS, *doors, *services)


def endpoints(ports: Mapping[str, int]) -> dict[str, str]:
    """Name to host:port, without what is nobody's business."""
    return {name: f"{HOST}:{port}" for name, port in ports.items() if name != "kafka-controller"}


def recipe(services: tuple[str, ...]) -> Recipe:
    """Kafka, Triton with its models, and the services, each copy by its name."""

    async def make(home: Path, ports: Mapping[str, int], progress: Progress) -> tuple[Child, ...]:
        kafka = await broker.prepare(home, await jars_folder(progress), ports)
        detector = await asyncio.to_thread(server, home, ports, progress)
        return (kafka, detector, *(service(name, home, ports) for name in services))

    return make


def copies(services: tuple[str, ...]) -> tuple[str, ...]:
    """The children that run the services: `consumer`, and `consumer-1` and on where more are wanted."""
    return tuple(
        name if number == 0 else f"{name}-{number}" for name in services for number in range(_wanted_copies(name))
    )


def _wanted_copies(service: str) -> int:
    variable = _COPIES.get(service, "")
    text = os.environ.get(variable) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise StackError(f"{variable} is {text!r}; give it a number from 1")
    return int(text)


def service(name: str, home: Path, ports: Mapping[str, int]) -> Child:
    """One of the services, or a copy of one (`consumer-1`), with all it is told."""
    package, _, number = name.partition("-")
    own = decoding(len(os.sched_getaffinity(0)), _wanted_copies("consumer")) if package == "consumer" else {}
    member = f"{package}-{number or 0}"
    regions = f"{shm_prefix(home)}{package}"
    door = _DOORS.get(package)
    doors = {f"TRAPSTREAM_{door.upper()}_PORT": str(ports[door])} if door is not None else {}
    if package == "producer" and "events" in ports and "TRAPSTREAM_EVENTS_URL" not in os.environ:
        doors["TRAPSTREAM_EVENTS_URL"] = f"http://{HOST}:{ports['events']}"
    return Child(
        name=name,
        argv=processes.python_module(package),
        cwd=processes.NO_PACKAGES,
        env={
            "TRAPSTREAM_HOME": str(home),
            "TRAPSTREAM_KAFKA": f"{HOST}:{ports['kafka']}",
            "TRAPSTREAM_TRITON": f"{HOST}:{ports['triton-grpc']}",
            "TRAPSTREAM_HTTP_PORT": str(ports[name]),
            "TRAPSTREAM_SHM_PREFIX": regions,
            "TRAPSTREAM_MEMBER": member,
            "TRAPSTREAM_LOG_FORMAT": "json",
            **doors,
            **{key: value for key, value in own.items() if key not in os.environ},
        },
        stage=1,
        health=partial(http_ok, ports[name], "/healthz"),
        alive=partial(http_alive, ports[name], "/healthz"),
        stop_seconds=25.0,
        ports=(ports[name], *((ports[door],) if door is not None else ())),
        shm_prefix=f"{regions}-{member}-",  # its own only: a copy that lives on needs its regions
    )


def decoding(cores: int, consumers: int) -> dict[str, str]:
    """How a consumer decodes on a machine of so many cores: large images keep more than one of them busy.

    Each decoder fills one slab, and each instance of the model reads another.
    """
    mine = max(1, cores // consumers)
    return {"TRAPSTREAM_DECODERS": str(min(mine, 4)), "TRAPSTREAM_SLABS": str(min(max(4, 2 * mine), 16))}


async def jars_folder(progress: Progress) -> Path:
    """Kafka's jars; where they are missing a process of its own downloads them. Raises StackError."""
    cache = cache_folder()
    if (found := jars.folder(cache)).is_dir():
        return found
    process = await asyncio.create_subprocess_exec(
        *processes.python_module("trapstream.local.jars", str(cache)),
        cwd=processes.NO_PACKAGES, env=processes.environment(os.environ),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, preexec_fn=processes.dies_with_parent(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async for line in process.stdout:
            progress(line.decode(errors="replace").rstrip())
        errors = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
        status = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if status:
        raise StackError(errors[-1] if errors else f"Kafka's jars could not be downloaded (status {status})")
    return found


def server(home: Path, ports: Mapping[str, int], progress: Progress) -> Child:
    """Triton with the models that are deployed: well once each of them is served, or the one before it. Blocks."""
    child = triton.child(home, repository.prepare(home, progress), ports, shm_prefix(home))
    return replace(child, health=deploying.settled(child.health, home, endpoints(ports), progress))
