"""How fast the aggregator folds and finalises, and in how much memory: an aggregator alone, behind the real topic."""

import asyncio
import contextlib
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import psutil

from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.services import service_environment
from bench.stacks import Bench, BenchError
from trapstream.core import json_codec, kafka, messages, topics
from trapstream.core.messages import ImageResult, JobSpec, JobStatus, Lane, ModelInfo, Outcome, StageTimes
from trapstream.core.states import ENDED

RATE, FINALISE_SECONDS, MEMORY_MB = 100_000, 60, 300
_DISORDER = 20_000
"""Images that the consumers of an archive may be apart."""
_PATIENCE = 600.0
MODEL = ModelInfo(
    name="bench", version="1", sha256="0" * 64, image_size=1280, stride=64,
    classes={"1": "animal", "2": "person", "3": "vehicle"}, typical_threshold=0.2, conservative_threshold=0.1,
)  # fmt: skip


def fold(plan: Plan, bench: Bench, count: int, jobs: int) -> list[Record]:
    """Sends `count` results of `jobs` jobs in turn, then starts an aggregator, which so has all of them open at once.

    Rate from its first fold to its last by processor time, seconds from there to the last file, and its largest
    resident size. `bench` has no service, and a log that holds no results yet.
    """
    plan.progress(f"fold {count:,}", 1)
    found = asyncio.run(_folded(plan, bench, count, jobs))
    what = f"{count:,} results of {jobs:,} job{'s' * (jobs > 1)}"
    rate, end, peak = (Runs((found[name],)) for name in ("folds_per_cpu_second", "end_seconds", "peak_mb"))
    return [
        record("fold", f"fold, processor time, {what}", rate, "results/s", at_least=RATE, **found),
        record("fold", f"last fold to file, {what}", end, "s", at_most=FINALISE_SECONDS),
        record("fold", f"memory, {what}", peak, "MB", at_most=MEMORY_MB),
    ]


async def _folded(plan: Plan, bench: Bench, count: int, jobs: int) -> dict[str, float]:
    names = [messages.new_job_id("bench") for _ in range(jobs)]
    await kafka.create_topics(bench.kafka)
    await _send(bench.kafka, names, count // jobs, plan)
    peak, first, last = 0, (0.0, 0, 0.0), (0.0, 0, 0.0)
    try:
        async with asyncio.timeout(_PATIENCE), _aggregator(bench) as child:
            process = psutil.Process(child.pid)
            async for done in _progress(bench.kafka, set(names)):
                now = (time.perf_counter(), done, sum(process.cpu_times()[:2]))
                peak = max(peak, process.memory_info().rss)
                if done:
                    first = first if first[1] else now
                    last = now if done > last[1] else last
    except TimeoutError:
        raise BenchError(f"not all was folded within {_PATIENCE:.0f} s; {_log(bench)} may say why") from None
    folded = last[1] - first[1]
    return {
        "folds_per_second": round(folded / max(last[0] - first[0], 1e-9)),
        "folds_per_cpu_second": round(folded / max(last[2] - first[2], 1e-9)),
        "end_seconds": round(time.perf_counter() - last[0], 2),
        "peak_mb": round(peak / 2**20),
    }


async def _progress(servers: str, jobs: set[str]) -> AsyncIterator[int]:
    """Images folded of all `jobs` so far, until every job has ended."""
    newest: dict[str, JobStatus] = {}
    async with contextlib.aclosing(kafka.follow(servers, topics.STATUS)) as batches:
        async for records in batches:
            found = (messages.decode(record.value, JobStatus) for record in records if record.value is not None)
            newest.update({each.job: each for each in found if each.job in jobs})
            yield sum(each.counts.done for each in newest.values())
            if sum(each.state in ENDED for each in newest.values()) == len(jobs):
                return


async def _send(servers: str, jobs: list[str], each: int, plan: Plan) -> None:
    producer = await kafka.start_producer(servers)
    try:
        for job in jobs:
            await producer.send(topics.JOBS.name, messages.encode(_spec(job, each)), job.encode())
        keys = itertools.cycle([job.encode() for job in jobs])
        in_turn = (value for some in zip(*(values(job, each) for job in jobs), strict=True) for value in some)
        stream, sent = zip(keys, in_turn, strict=False), 0
        while some := list(itertools.islice(stream, _DISORDER)):
            await asyncio.gather(*[await producer.send(topics.DETECTIONS.name, value, key) for key, value in some])
            sent += len(some)
            plan.progress(f"{sent:,} of {each * len(jobs):,} results sent", 1)
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def _aggregator(bench: Bench) -> AsyncIterator[asyncio.subprocess.Process]:
    """It is not waited for: what follows its statuses must be there before it folds."""
    with _log(bench).open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aggregator", env=service_environment(bench, "aggregator"), stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        await child.wait()


def _log(bench: Bench) -> Path:
    return bench.home / "logs" / "bench-aggregator.log"


def _spec(job: str, count: int) -> JobSpec:
    """A sealed job of `count` images."""
    return JobSpec(
        job=job, name=job, lane=Lane.BULK, model=MODEL, threshold=0.005, images=count, manifest_sha256="0" * 64,
        created=0.0, total=count,
    )  # fmt: skip


def values(job: str, count: int, seed: int = 1) -> Iterator[bytes]:
    """Realistic results, somewhat out of order: four images in five are empty, one in five holds animals."""
    rand = random.Random(seed)
    for start in range(0, count, _DISORDER):
        seqs = list(range(start, min(count, start + _DISORDER)))
        rand.shuffle(seqs)
        for seq in seqs:
            boxes = [_box(rand) for _ in range(rand.choice((0, 0, 0, 0, 0, 0, 0, 0, 1, 3)))]
            boxes += [_box(rand, 0.05) for _ in range(rand.choice((0, 1, 2)))]  # below the threshold, as detectors give
            entry = {"file": f"site{seq % 50:03d}/camera{seq % 7}/IMG_{seq:07d}.JPG", "detections": boxes}
            yield messages.encode(
                ImageResult(
                    job=job,
                    seq=seq,
                    outcome=Outcome.DETECTED if boxes and float(str(boxes[0]["conf"])) >= 0.2 else Outcome.EMPTY,
                    reason=None,
                    entry=msgspec.Raw(json_codec.encode(entry)),
                    model=MODEL.label,
                    ms=StageTimes(fetch=1.25, decode=3.5, detect=40.125),
                )
            )


def _box(rand: random.Random, most: float = 1.0) -> dict[str, object]:
    box = [round(rand.random(), 4) for _ in range(4)]
    return {"category": "1", "conf": round(0.2 * most + 0.8 * most * rand.random(), 3), "bbox": box}
