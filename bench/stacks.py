"""A stack of the benchmark's own, the jobs that it is given, and what they cost."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tritonclient.grpc as triton

from bench import timed
from bench.models import Model
from trapstream.core import status as statuses
from trapstream.core import verdict
from trapstream.core.errors import TrapstreamError
from trapstream.core.messages import JobSpec, JobState, Lane, ModelInfo
from trapstream.core.verdict import Load, Totals
from trapstream.jobs.submit import cancel, submit
from trapstream.local import control, processes, service_load
from trapstream.local.state import SERVICES, Stack

_STALL_SECONDS = 120.0
FILLING = 64
"""Images done before a rate is taken: the first batches fill the stages."""
DRAINING = 150
"""Images still open when it has been taken: the stages hold about a hundred, and none of them may be empty."""


class BenchError(TrapstreamError):
    """A benchmark could not be run. The text says why."""


@dataclass(frozen=True)
class Moment:
    """How far a job was, and what its stack had used."""

    at: float
    done: int
    cpu: dict[str, float]
    """Seconds of processor time by process."""
    totals: dict[str, Totals]


@dataclass(frozen=True)
class Ran:
    """One job's steady part: every stage has work from its beginning to its end, so that what was done ahead at the
    beginning is done ahead at the end too."""

    begin: Moment
    end: Moment
    memory: dict[str, float] = field(default_factory=dict)
    """MB by process, at the end."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return (self.end.done - self.begin.done) / max(self.end.at - self.begin.at, 1e-6)

    @property
    def cpu(self) -> dict[str, float]:
        """Milliseconds of processor time an image, by process."""
        images = max(1, self.end.done - self.begin.done)
        return {name: 1000 * (used - self.begin.cpu.get(name, 0.0)) / images for name, used in self.end.cpu.items()}

    @property
    def load(self) -> Load | None:
        """How busy the stages were."""
        begin, end = self.begin.totals, self.end.totals
        found = [verdict.between(begin[name], end[name]) for name in end if name in begin]
        return verdict.merged(load for load in found if load is not None)

    @property
    def verdict(self) -> verdict.Verdict | None:
        """The stage that limited it, and the gain of one more of it."""
        return verdict.judge(self.load)


def usual_environment() -> dict[str, str]:
    """The caller's environment without settings, except where downloads lie."""
    kept = "TRAPSTREAM_CACHE"
    return {name: value for name, value in os.environ.items() if not name.startswith("TRAPSTREAM_") or name == kept}


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """`settings` in place of the caller's."""
    before, made = dict(os.environ), {**usual_environment(), **settings}
    os.environ.clear()
    os.environ.update(made)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Bench:
    """A stack that is up."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.home = Path(stack.home)
        self.kafka, self.triton = stack.endpoints["kafka"], stack.endpoints["triton-grpc"]

    def load_model(self, name: str, seconds: float, instances: int = 1) -> ModelInfo:
        """Has Triton serve a model of chosen cost beside the others."""
        info = timed.write_entry(self.home / "triton" / "repository", name, seconds, instances)
        with contextlib.closing(triton.InferenceServerClient(self.triton)) as client:
            client.load_model(timed.entry_of(info))
        return info

    def run(self, manifest: Path, model: ModelInfo, filling: int = FILLING, draining: int = DRAINING) -> Ran:
        """A job from submission to its end."""
        return asyncio.run(self._run(manifest, model, filling, draining))

    async def cancelled(self, spec: JobSpec) -> None:
        """Cancels a job and waits for its end, so that what is left of it does not disturb what comes next."""
        await cancel(self.kafka, spec.job)
        await statuses.end(self.kafka, spec.job)

    async def submit(self, manifest: Path, model: ModelInfo) -> JobSpec:
        """A job on the bulk lane."""
        return await submit(
            self.kafka, self.home / "results", [str(manifest)], name="bench", lane=Lane.BULK, model=model,
            threshold=0.005, anyway=True,
        )  # fmt: skip

    async def _run(self, manifest: Path, model: ModelInfo, filling: int, draining: int) -> Ran:
        spec = await self.submit(manifest, model)
        begin: Moment | None = None
        end: Moment | None = None
        async with _within(spec) as stall:
            async for status in statuses.watch(self.kafka, spec.job):
                stall.reschedule(asyncio.get_running_loop().time() + _STALL_SECONDS)
                done = status.counts.done
                if begin is None and done >= min(filling, 0.1 * spec.images):
                    begin = await self.moment(done)
                elif begin is not None and end is None and done >= max(spec.images - draining, 0.6 * spec.images):
                    end = await self.moment(done)
        if status.state is not JobState.COMPLETED:
            raise BenchError(f"the job ended as {status.state}: {status.message}")
        if begin is None or end is None:
            raise BenchError(f"a job of {spec.images} images is too short to be measured")
        return Ran(begin, end, {name: used / 1e6 for name, used in self.memory().items()})

    async def moment(self, done: int) -> Moment:
        """Now."""
        return Moment(time.perf_counter(), done, self.cpu(), await service_load.totals(self.stack))

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time by process; Triton's with its instances."""
        return {name: sum(map(_seconds, whole)) for name, whole in self._processes().items()}

    def memory(self) -> dict[str, int]:
        """Resident bytes by process."""
        return {name: sum(map(_resident, whole)) for name, whole in self._processes().items()}

    def _processes(self) -> dict[str, list[psutil.Process]]:
        found = {process.name: processes.find(process) for process in self.stack.processes}
        return {name: [one, *one.children(recursive=True)] for name, one in found.items() if one is not None}


@contextlib.contextmanager
def bench_stack(
    home: Path, model: Model, settings: Mapping[str, str] | None = None, services: tuple[str, ...] = SERVICES
) -> Iterator[Bench]:
    """A stack of its own that serves `model`, with these settings and the usual ones for the rest; gone afterwards."""
    home.mkdir(parents=True, exist_ok=True)
    with environment({"TRAPSTREAM_STATUS_SECONDS": "0.1", **model.deploy(home), **(settings or {})}):
        stack = control.up(home, lambda _: None, services, passing=True)
    try:
        yield Bench(stack)
    finally:
        control.down(home, lambda _: None)


@contextlib.asynccontextmanager
async def _within(spec: JobSpec) -> AsyncIterator[asyncio.Timeout]:
    try:
        async with asyncio.timeout(_STALL_SECONDS) as stall:
            yield stall
    except TimeoutError:
        raise BenchError(f"{spec.job} got no further for {_STALL_SECONDS:.0f} s; a longer run may do") from None


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
