"""Processes of Triton's Python backend that are killed in mid-work: no image fails, and the model is loaded anew."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests import graphs, images
from tests.integration import outages
from tests.integration.producer.helpers import clean_lanes
from tests.integration.service import service
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka
from trapstream.core.messages import Outcome
from trapstream.core.triton_names import LIVE_VERSION, TRITON_VERSION, triton_name
from trapstream.local import ports
from trapstream.local import triton as local_triton
from trapstream.local.instances import InstanceWatch
from trapstream.local.state import ServedModel
from trapstream.models import repository_entry

MODEL = "mortal"
ENTRY = triton_name(MODEL, "1")
INSTANCES = 2
COUNT = 1_500
KILLS = 6


@dataclass
class Watched:
    """A Triton of a test's own whose instances are looked after, and what was noted of them."""

    server: outages.Server
    grpc: str
    noted: list[ServedModel] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def instances(self, version: str) -> list[psutil.Process]:
        """Those that live."""
        found = []
        for process in self.server.process.children() if self.server.process else []:
            with contextlib.suppress(psutil.Error):
                if f"/{ENTRY}/{version}/" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    async def is_whole(self, loads: int) -> None:
        """Waits until it was loaded anew so often, and none but its own instances live."""

        async def there() -> bool:
            last = self.noted[-1] if self.noted else None
            return (
                last is not None and last.alive == last.instances and last.loaded_anew >= loads
                and all(len(self.instances(version)) == INSTANCES for version in (TRITON_VERSION, LIVE_VERSION))
            )  # fmt: skip

        await eventually(f"{loads} loads", there, 60.0)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A Triton with one model of two instances for each lane."""
    home = tmp_path / "triton home"
    repository = home / local_triton.REPOSITORY
    repository.mkdir(parents=True)
    graph = tmp_path / "mortal.onnx"
    graphs.save_picky(graph, limit=200)
    repository_entry.render_cpu(graph, ENTRY, repository, repository_entry.CpuServing(instances=INSTANCES))
    chosen = ports.choose(local_triton.PORTS, {})
    child = local_triton.child(home, (ENTRY,), chosen, f"mortal-{chosen['triton-grpc']}-")
    async with outages.running(child, home) as server:
        made = Watched(server, f"{ports.HOST}:{chosen['triton-grpc']}")
        watch = InstanceWatch(
            home, f"{ports.HOST}:{chosen['triton-http']}", lambda: server.process,
            made.noted.extend, made.said.append,
        )  # fmt: skip
        watching = asyncio.create_task(watch.run())
        yield made
        watching.cancel()


async def test_a_model_whose_instance_died_is_loaded_anew(watched: Watched) -> None:
    """One of each lane's, killed while idle: what is noted says so, within seconds all live again, and of the old ones
    none stays."""
    await watched.is_whole(0)
    for loads, version in enumerate((TRITON_VERSION, LIVE_VERSION), 1):
        before = watched.instances(version)
        os.kill(before[0].pid, signal.SIGKILL)
        await watched.is_whole(loads)
        assert not {process.pid for process in before} & {process.pid for process in watched.instances(version)}
    short = next(noted for noted in watched.noted if noted.alive < noted.instances)
    assert short.words == f"{ENTRY}: only 3 of 4 instances live; it is loaded anew"
    assert watched.noted[-1].words == f"{ENTRY}: all 4 instances live; loaded anew twice, because instances had died"
    assert any(line.startswith(f"{ENTRY}: loaded anew in ") for line in watched.said)


async def test_a_load_whose_instance_died_holds_up_nothing(watched: Watched) -> None:
    """An instance killed while its model is loaded anew: Triton would wait for it for ever, so it starts again."""
    await watched.is_whole(0)
    old = {process.pid for process in watched.instances(TRITON_VERSION)}
    triton = watched.server.process
    os.kill(min(old), signal.SIGKILL)

    async def killed_again() -> bool:
        new = [process for process in watched.instances(TRITON_VERSION) if process.pid not in old]
        for process in new:
            process.kill()
        return bool(new)

    await eventually("an instance that is loaded", killed_again, 30.0)
    await watched.is_whole(0)
    assert not {process.pid for process in watched.instances(TRITON_VERSION)} & old
    assert watched.server.process != triton or watched.noted[-1].loaded_anew


async def test_no_image_fails_when_instances_are_killed(
    stack: RunningStack, watched: Watched, member: str, tmp_path: Path
) -> None:
    """Instances killed at random moments of a job, at the end all of them at once: each good image is answered, and of
    the bad ones each is refused."""
    dark, bright = tmp_path / "dark.png", tmp_path / "bright.png"
    dark.write_bytes(images.encode(images.scene(64, 48).point(lambda level: level // 2), "PNG"))
    bright.write_bytes(images.encode(images.scene(64, 48).point(lambda _: 255), "PNG"))
    chance = random.Random(7)
    uris = [bright.as_uri() if seq % 50 == 7 else dark.as_uri() for seq in range(COUNT)]
    await kafka.create_topics(stack.kafka)
    async with clean_lanes(stack.kafka):
        spec, port = outages.job(member, MODEL, COUNT), outages.free_port()
        with service(
            "consumer", tmp_path / "home", stack.kafka, triton=watched.grpc, http_port=str(port),
            shm_prefix=f"{stack.shm_prefix}{member}",
        ) as process:  # fmt: skip
            async with outages.answers(stack.kafka, spec.job) as found:
                for number in range(KILLS):
                    first = number * COUNT // KILLS
                    some = uris[first : first + COUNT // KILLS]
                    await outages.publish(stack.kafka, spec, some, first=first)
                    await found.reach(lambda done, first=first: len(done) > first + 5)  # type: ignore[misc]
                    await asyncio.sleep(chance.uniform(0, 0.2))  # at any moment of a request
                    last = number == KILLS - 1
                    for instance in (await _living(watched))[: None if last else 1]:
                        os.kill(instance.pid, signal.SIGKILL)
                await found.reach(lambda done: len(done) == COUNT, 120.0)
                await watched.is_whole(1)
                assert process.stop() == 0, process.log
    refused = {seq for seq, outcome in found.outcomes.items() if outcome is Outcome.FAILED}
    assert refused == set(range(7, COUNT, 50))


async def _living(watched: Watched) -> list[psutil.Process]:
    """The bulk lane's instances, once there are some."""

    async def some() -> bool:
        return bool(watched.instances(TRITON_VERSION))

    await eventually("an instance", some, 60.0)
    return watched.instances(TRITON_VERSION)
