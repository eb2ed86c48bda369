"""A job whose model is not served, or not well, waits in a room of its own: others go on, and so does it in the end."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import tritonclient.grpc.aio as triton

from tests import graphs
from tests.integration import outages
from tests.integration.producer.helpers import clean_lanes
from tests.integration.service import service
from tests.losing import lose
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import Counts, JobSpec, JobState, JobStatus, Lane, Outcome
from trapstream.core.triton_names import triton_name
from trapstream.models import repository_entry

COUNT = 60


@pytest.fixture(autouse=True)
async def own_lanes(stack: RunningStack) -> AsyncIterator[None]:
    """Nothing of other tests in the lanes, and nothing left there: it would want a model that is not there."""
    async with clean_lanes(stack.kafka):
        yield


@pytest.fixture
async def late(stack: RunningStack, member: str) -> AsyncIterator["Late"]:
    """A model that is not loaded yet."""
    made = Late(stack, f"late-{member}")
    yield made
    await made.unload()
    await made.client.close()


class Late:
    """A model of this test's own, and who loads it."""

    def __init__(self, stack: RunningStack, name: str) -> None:
        self.name, self.entry = name, triton_name(name, "1")
        self.client = triton.InferenceServerClient(stack.triton)
        self._repository = stack.home / "triton" / "repository"

    async def load(self, limit: float = graphs.ANY) -> None:
        """Also in place of one that is loaded: `limit` as in `graphs.save_picky`."""
        graph = self._repository.parent / f"{self.name}.onnx"
        graphs.save_picky(graph, limit)
        repository_entry.render_cpu(graph, self.entry, self._repository, repository_entry.CpuServing(instances=1))
        await self.client.load_model(self.entry)

    async def unload(self) -> None:
        await self.client.unload_model(self.entry)


def waiting(port: int, label: str) -> float:
    """How many images of the consumer at `port` wait for this model, by its metric; 0 where it has no such line, and
    before it has started."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return 0.0
    found = re.search(rf'^trapstream_waiting_for_model{{model="{label}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_others_go_on_and_it_does_once_the_model_is_loaded(
    stack: RunningStack, picky: str, late: Late, photo: Path, member: str, tmp_path: Path
) -> None:
    """Behind a job without its model another one is done; log and metric name the model; loaded, not one image fails;
    unloaded and loaded in mid-job neither; what is answered is committed."""
    here, there = outages.job(member, picky, COUNT), outages.job(f"{member}-late", late.name, COUNT)
    port, label = outages.free_port(), late.entry
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        http_port=str(port), commit_seconds="0.2", slabs="2",
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, there.job) as found, outages.answers(stack.kafka, here.job) as other:
            await outages.publish(stack.kafka, there, [photo.as_uri()] * COUNT)
            await outages.announced(process, port, "model")
            await outages.publish(stack.kafka, here, [photo.as_uri()] * COUNT)
            await other.reach(lambda done: len(done) == COUNT)
            await eventually("the metric", lambda: outages.asked(lambda: waiting(port, label) == COUNT))
            assert not found.outcomes
            assert f'"model": "{label}"' in process.log
            await late.load()
            await found.reach(lambda done: len(done) == COUNT)
            await late.unload()
            await outages.publish(stack.kafka, there, [photo.as_uri()] * COUNT, first=COUNT)
            await eventually("the metric", lambda: outages.asked(lambda: waiting(port, label) == COUNT))
            await late.load()
            await found.reach(lambda done: len(done) == 2 * COUNT)
            await outages.over(port, "model")
            assert waiting(port, label) == 0
            assert process.stop() == 0, process.log
    assert set(found.outcomes.values()) == set(other.outcomes.values()) == {Outcome.EMPTY}
    assert await outages.lag(stack.kafka, Lane.BULK) == 0


def errors(port: int) -> dict[str, str]:
    """What the consumer at `port` tells of models that answer with errors."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        found: dict[str, str] = json.load(answer)["model_errors"]
    return found


async def test_a_model_that_answers_with_errors_waits_aside(
    stack: RunningStack, picky: str, late: Late, photo: Path, member: str, tmp_path: Path
) -> None:
    """A model that comes to fail on every image: another job is done beside its own, log and health say what it
    answers; once it is well again not one image has failed."""
    here, there = outages.job(member, picky, COUNT), outages.job(f"{member}-sick", late.name, 2 * COUNT)
    port, label = outages.free_port(), late.entry
    await late.load()
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        http_port=str(port), commit_seconds="0.2", slabs="2",
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, there.job) as found, outages.answers(stack.kafka, here.job) as other:
            await outages.publish(stack.kafka, there, [photo.as_uri()] * COUNT)
            await found.reach(lambda done: len(done) == COUNT)
            await late.load(graphs.NONE)
            await outages.publish(stack.kafka, there, [photo.as_uri()] * COUNT, first=COUNT)
            await outages.announced(process, port, "model")
            await outages.publish(stack.kafka, here, [photo.as_uri()] * COUNT)
            await other.reach(lambda done: len(done) == COUNT)
            await eventually("the metric", lambda: outages.asked(lambda: waiting(port, label) == COUNT))
            assert "the model answers with errors" in (await asyncio.to_thread(errors, port))[label]
            assert len(found.outcomes) == COUNT
            await late.load()
            await found.reach(lambda done: len(done) == 2 * COUNT)
            await outages.over(port, "model")
            assert await asyncio.to_thread(errors, port) == {}
            assert process.stop() == 0, process.log
    assert set(found.outcomes.values()) == set(other.outcomes.values()) == {Outcome.EMPTY}
    assert await outages.lag(stack.kafka, Lane.BULK) == 0


async def test_who_waits_can_be_cancelled_and_who_ended_is_not_waited_for(
    stack: RunningStack, late: Late, photo: Path, member: str, tmp_path: Path
) -> None:
    """References of a job that is cancelled, or that ended, let go of the lane; a stop does not wait for the others,
    and whoever starts next does them."""
    jobs = [outages.job(f"{member}-{name}", late.name, COUNT) for name in ("cancelled", "ended", "open")]
    await lose(stack.kafka)
    port = outages.free_port()
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        commit_seconds="0.2", drain_seconds="60", http_port=str(port),
    ) as process:  # fmt: skip
        for spec in jobs[:2]:
            await outages.publish(stack.kafka, spec, [photo.as_uri()] * COUNT)
        await eventually("the rooms", lambda: outages.asked(lambda: waiting(port, late.entry) == 2 * COUNT))
        await eventually("nobody else's references", lambda: _lags(stack, 2 * COUNT))
        await _end(stack, jobs[0], jobs[1])
        await eventually("an empty lane", lambda: _lags(stack, 0))
        async with outages.answers(stack.kafka, jobs[2].job) as found:
            await outages.publish(stack.kafka, jobs[2], [photo.as_uri()] * COUNT)
            await eventually("the rooms", lambda: outages.asked(lambda: waiting(port, late.entry) == COUNT))
            assert process.stop() == 0, process.log
            assert await outages.lag(stack.kafka, Lane.BULK) == COUNT
            await late.load()
            process.start()
            await found.reach(lambda done: len(done) == COUNT)
            assert process.stop() == 0, process.log


async def _end(stack: RunningStack, cancelled: JobSpec, ended: JobSpec) -> None:
    producer = await kafka.start_producer(stack.kafka)
    spec = msgspec.structs.replace(cancelled, cancelled=True)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
    status = JobStatus(job=ended.job, state=JobState.COMPLETED, total=COUNT, counts=Counts(empty=COUNT))
    await producer.send_and_wait(topics.STATUS.name, messages.encode(status), ended.job.encode())
    await producer.stop()


async def _lags(stack: RunningStack, references: int) -> bool:
    return await outages.lag(stack.kafka, Lane.BULK) == references
