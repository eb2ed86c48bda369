"""The verdict on a job that runs, waited for: on a machine with other work one window may be spoilt by a pause."""

import asyncio
import contextlib
import shutil
import time

import tritonclient.grpc as triton

from bench import timed
from bench.stacks import Bench, Moment, Ran
from tests.waiting import eventually
from trapstream.core import status as statuses
from trapstream.core.messages import JobSpec, ModelInfo
from trapstream.core.verdict import Verdict

SECONDS = 2.0
"""Of a window: several batches of the slowest stage."""
LEAST = 8
"""Images that a window has at least: a batch."""
PATIENCE = 120.0
"""Seconds for a window, its beginning included."""


def drop_model(bench: Bench, info: ModelInfo) -> None:
    """Has Triton forget a model of chosen cost, also when it starts again."""
    with contextlib.closing(triton.InferenceServerClient(bench.triton)) as client:
        client.unload_model(timed.entry_of(info))
    shutil.rmtree(bench.home / "triton" / "repository" / timed.entry_of(info))


async def sample(bench: Bench, spec: JobSpec, filling: int) -> Ran:
    """A window of a job, once `filling` of its images are done. It is longer where hardly any image was done in it."""
    begin: Moment | None = None
    async with asyncio.timeout(PATIENCE):
        async with contextlib.aclosing(statuses.watch(bench.kafka, spec.job)) as found:
            async for status in found:
                done = status.counts.done
                if begin is None and done >= filling:
                    begin = await bench.moment(done)
                elif begin is not None and time.perf_counter() >= begin.at + SECONDS and done >= begin.done + LEAST:
                    return Ran(begin, await bench.moment(done))
    raise AssertionError("the job ended before its rate was steady")


async def named(bench: Bench, spec: JobSpec, *limits: str, filling: int = 16) -> Verdict:
    """The verdict, once one of `limits` limits and the first of them is the busiest stage."""
    seen: list[str] = []

    async def told() -> Verdict | None:
        found = (await sample(bench, spec, filling)).verdict
        seen.append(found.sentence if found is not None else "nothing was done")
        return found if found is not None and found.limits in limits and found.busiest == limits[0] else None

    try:
        return await eventually(f"the verdict on {limits[0]}", told, 30.0)
    except AssertionError as error:
        raise AssertionError(f"{error}; it said: {seen}") from None
