"""The keeper of a running stack: Triton serves what is deployed by default or used by an open job, and nothing else."""

import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.stacks import RunningStack
from tests.unit.values import MODEL, job_spec
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import Counts, JobSpec, JobState, JobStatus
from trapstream.core.triton_names import triton_name
from trapstream.local import loading, repository, triton
from trapstream.local.home import log_file
from trapstream.local.state import StackError
from trapstream.models import bundle_store, deployed
from trapstream.models.card import read_card, write_card
from trapstream.models.deployed import Deployed, Deployment


class Model:
    """A model of this test's own with versions 1 and 2, on the stack that all tests share."""

    def __init__(self, stack: RunningStack, name: str) -> None:
        self.stack, self.name = stack, name
        for version in ("1", "2"):
            target = bundle_store.folder(stack.home, name, version)
            target.mkdir(parents=True)
            shutil.copyfile(stack.graph, target / bundle_store.GRAPH)
            card = read_card(stack.graph.with_name(bundle_store.CARD))
            write_card(target / bundle_store.CARD, msgspec.structs.replace(card, name=name, version=version))

    def deploy(self, *versions: str) -> None:
        """Notes the first of them as the default."""
        known = Deployed().with_version(self.name, versions[0], Deployment()).with_default(self.name, versions[0])
        for version in versions[1:]:
            known = known.with_version(self.name, version, Deployment())
        with deployed.alone(self.stack.home, lambda: None):
            deployed.write(self.stack.home, known)

    def entry(self, version: str) -> Path:
        return repository.folder(self.stack.home, f"{self.name}@{version}")

    async def served(self) -> set[str]:
        address = self.stack.triton_http
        return {each for each in ("1", "2", "3") if await loading.is_ready(address, triton_name(self.name, each))}

    async def reaches(self, *versions: str) -> None:
        """Waits until these are served and no others, and no entry of others is left."""

        async def there() -> bool:
            left = {each for each in ("1", "2") if self.entry(each).exists()}
            return await self.served() == left == set(versions)

        await eventually(f"{versions} of {self.name}", there)


@pytest.fixture
async def model(stack: RunningStack, member: str) -> AsyncIterator[Model]:
    """Nothing of it is left afterwards."""
    await kafka.create_topics(stack.kafka)
    made = Model(stack, f"kept-{member}")
    yield made
    with deployed.alone(stack.home, lambda: None):
        deployed.deployed_file(stack.home).unlink(missing_ok=True)
        for version in await made.served():
            await loading.unload(stack.triton_http, triton_name(made.name, version))
            repository.remove(stack.home, f"{made.name}@{version}")
        shutil.rmtree(bundle_store.models_folder(stack.home) / made.name)


async def publish(stack: RunningStack, job: JobSpec, *statuses: JobStatus) -> None:
    producer = await kafka.start_producer(stack.kafka)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(job), job.job.encode())
    for status in statuses:
        await producer.send_and_wait(topics.STATUS.name, messages.encode(status), job.job.encode())
    await producer.stop()


async def test_a_version_stays_while_an_open_job_needs_it(stack: RunningStack, model: Model, member: str) -> None:
    """The default version is loaded; an older one comes for an open job and goes with it, also where a deploy that was
    killed had left it; one that is not to be had is said, and holds up nothing."""
    used = msgspec.structs.replace(MODEL, name=model.name, version="2")
    job = job_spec(job=member, model=used)
    model.deploy("1", "2", "3")
    await model.reaches("1")
    repository.render(stack.home, bundle_store.find(stack.home, f"{model.name}@2"), Deployment())
    await loading.load(stack.triton_http, triton_name(model.name, "2"))
    await model.reaches("1")
    await publish(stack, job)
    await model.reaches("1", "2")
    wanted = msgspec.structs.replace(used, version="3")
    await publish(stack, job_spec(job=f"{member}-never", model=wanted, cancelled=False))
    said = log_file(stack.home, "supervisor")

    async def told() -> bool:
        return f"{model.name}@3 is not served: no model" in said.read_text()

    await eventually("word of it", told)
    running = JobStatus(job=job.job, state=JobState.RUNNING, total=1, counts=Counts())
    ended = msgspec.structs.replace(running, state=JobState.COMPLETED, counts=Counts(empty=1))
    await publish(stack, job, running, ended)
    await model.reaches("1")
    await publish(stack, job_spec(job=f"{member}-never", model=wanted, cancelled=True))


async def test_a_server_that_starts_again_is_well_without_what_was_unloaded(stack: RunningStack, member: str) -> None:
    """Of the models that the first start needed, the server is asked for those that are in its repository still."""
    folder, port = stack.home / "triton" / "repository", int(stack.triton_http.rpartition(":")[2])
    gone = triton_name(f"gone-{member}", "1")
    ready = partial(triton.models_ready, port, folder, (stack.entry, gone))
    assert await ready()
    (folder / gone).mkdir()
    try:
        with pytest.raises(StackError, match=gone):
            await ready()
    finally:
        (folder / gone).rmdir()
