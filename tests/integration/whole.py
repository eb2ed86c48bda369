"""The three services in one home, each a process that a test may kill, and jobs over small images."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import tritonclient.grpc as triton

from bench.tools import chaos_model
from tests.integration.aggregator.harness import wait_status
from tests.integration.service import Service
from tests.losing import lose
from tests.stacks import RunningStack
from trapstream.core import kafka
from trapstream.core.messages import JobSpec, JobStatus, Lane, ModelInfo
from trapstream.core.result_store import result_path
from trapstream.core.states import ENDED
from trapstream.core.triton_names import triton_name
from trapstream.jobs.submit import submit
from trapstream.models.repository_entry import CpuServing, render_cpu

SETTINGS = {
    "TRAPSTREAM_COMMIT_SECONDS": "0.2",
    "TRAPSTREAM_FOLD_BATCH": "200",
}


class Whole:
    """Services by name and number, and the jobs that they do."""

    def __init__(
        self, stack: RunningStack, home: Path, model: ModelInfo, manifest: Path, more: Mapping[str, str]
    ) -> None:
        self.stack, self.home, self.model, self.manifest, self._more = stack, home, model, manifest, more
        self.running: dict[str, Service] = {}

    def start(self, name: str, number: int = 0, settings: Mapping[str, str] | None = None) -> Service:
        """Starts a service, in place of the one that ran as this number."""
        member = f"{name}-{number}"
        if member in self.running and self.running[member].runs:
            self.running[member].kill()
        reach = {"TRAPSTREAM_TRITON": self.stack.triton, "TRAPSTREAM_SHM_PREFIX": f"{self.stack.shm_prefix}whole"}
        self.running[member] = Service(
            name, self.home, self.stack.kafka, member, {**SETTINGS, **reach, **self._more, **(settings or {})}
        )
        self.running[member].start()
        return self.running[member]

    def submit(self, manifest: Path | None = None) -> JobSpec:
        """A job over the manifest, or over another one."""
        results = self.home / "results"
        making = submit(
            self.stack.kafka, results, [str(manifest or self.manifest)], name="whole", lane=Lane.BULK, model=self.model,
            threshold=0.005,
        )  # fmt: skip
        return asyncio.run(making)

    def ended(self, job: str, seconds: float = 30.0) -> JobStatus:
        """The job's last status."""
        return asyncio.run(wait_status(self.stack.kafka, job, lambda status: status.state in ENDED, seconds))

    def done(self, job: str, images: int) -> JobStatus:
        """The job's status once so many images are done."""
        return asyncio.run(wait_status(self.stack.kafka, job, lambda status: status.counts.done >= images))

    def file(self, job: str) -> bytes:
        """The job's result file."""
        return result_path(self.home / "results", job).read_bytes()


async def empty_lanes(servers: str) -> None:
    """What other tests left unread on the shared broker wants models that are not there any more."""
    await kafka.create_topics(servers)
    await lose(servers)


@contextlib.contextmanager
def whole(stack: RunningStack, folder: Path, images: int, settings: Mapping[str, str] | None = None) -> Iterator[Whole]:
    """One of each service at work on the stack, and a manifest of so many images. All are gone afterwards.

    `settings`: variables of all three.
    """
    asyncio.run(empty_lanes(stack.kafka))
    model = chaos_model.write_bundle(folder / "bundle")
    repository = stack.home / "triton" / "repository"
    name = triton_name(model.name, model.version)
    render_cpu(folder / "bundle" / "model.onnx", name, repository, CpuServing(instances=1))
    client = triton.InferenceServerClient(stack.triton)
    client.load_model(name)
    works = Whole(stack, folder / "home", model, chaos_model.write_images(folder / "images", images), settings or {})
    try:
        for name in ("producer", "consumer", "aggregator"):
            works.start(name)
        yield works
    finally:
        for service in works.running.values():
            if service.runs:
                service.kill()
        client.unload_model(name)
        client.close()
