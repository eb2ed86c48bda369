"""Each stage by itself: what it could do if the others cost nothing."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

from bench import load, triton_alone
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import Bench
from consumer.fetch import Fetcher
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import JobSpec, ModelInfo
from trapstream.core.settings import ConsumerSettings
from trapstream.images.decode import Decoder, Encoded

_BATCH = 8
_MOST_PIXELS = 200_000_000
PUBLISHED = 50_000
"""References a second that are wanted."""


def fetch(plan: Plan) -> list[Record]:
    """Files a second that the fetcher reads, as many at once as a consumer does."""
    uris, settings = load.uris(plan.images, plan.say), ConsumerSettings(home=plan.work)

    async def work() -> float:
        count = 0
        endless = itertools.cycle(uris)
        async with Fetcher(settings) as fetcher:
            began = time.perf_counter()
            until = began + plan.seconds / 2

            async def one_after_the_other() -> None:
                nonlocal count
                while time.perf_counter() < until:
                    await fetcher.fetch(next(endless))
                    count += 1

            await asyncio.gather(*(one_after_the_other() for _ in range(settings.fetches)))
            return count / (time.perf_counter() - began)

    asyncio.run(work())  # the warm-up: the files are in the page cache now, as they are for every other figure
    runs = plan.repeat("fetch", lambda: asyncio.run(work()))
    return [
        record("fetch", f"fetch alone, {plan.images.label} (page cache)", runs, "files/s", in_flight=settings.fetches)
    ]


def decode(plan: Plan, model: ModelInfo | None = None) -> list[Record]:
    """Images a second that one thread decodes and letterboxes for a model; processor time of an image."""
    wanted = model or plan.model.info
    shape = (wanted.image_size, wanted.stride, wanted.fixed, wanted.stretch)
    encoded = _read(load.uris(plan.images, plan.say))
    decoder = Decoder(_BATCH, 1, "cpu", _MOST_PIXELS)
    cost: list[float] = []

    def work() -> float:
        count, began, cpu = 0, time.perf_counter(), time.process_time()
        for start in itertools.cycle(range(0, len(encoded), _BATCH)):
            batch = encoded[start : start + _BATCH]
            decoder.decode([Encoded(data, *shape) for data in batch])
            count += len(batch)
            if time.perf_counter() - began > plan.seconds / 2:
                break
        cost.append(1000 * (time.process_time() - cpu) / count)
        return count / (time.perf_counter() - began)

    work()
    cost.clear()
    runs = plan.repeat("decode", work)
    spent = Runs(tuple(cost))
    return [
        record("decode", f"decode alone, {plan.images.label}, one thread", runs, "images/s"),
        record("decode", f"decode alone, {plan.images.label}, processor time", spent, "ms/image"),
    ]


def detect(plan: Plan, bench: Bench) -> list[Record]:
    """Images a second of Triton alone, under a closed loop of images that are decoded already.

    Where perf_analyzer is installed, it does the same by turns.
    """
    model, in_flight = plan.model.info, 2 * plan.cores
    pixels = triton_alone.decoded(_read(load.uris(plan.images, plan.say)[: 4 * _BATCH]), model)
    ours: list[triton_alone.Alone] = []
    theirs: list[float] = []
    with_theirs = triton_alone.has_perf_analyzer()

    def once() -> float:
        ours.append(asyncio.run(triton_alone.closed_loop(bench.triton, model, pixels, in_flight, plan.seconds)))
        if with_theirs:
            theirs.append(triton_alone.perf_analyzer(bench.triton, model, pixels, in_flight, plan.seconds, plan.work))
        return ours[-1].rate

    runs, name = plan.repeat("detect", once), plan.model.name
    found = [
        record(
            "detect", f"Triton alone, {name} at {pixels.shape[2]} x {pixels.shape[1]}", runs, "images/s",
            in_flight=in_flight, request_images=len(pixels), request_ms_median_p99=ours[-1].milliseconds,
        )
    ]  # fmt: skip
    if with_theirs:
        ratios = Runs(tuple(one.rate / other for one, other in zip(ours, theirs, strict=True)))
        found += [
            record("detect", f"perf_analyzer, {name}", Runs(tuple(theirs)), "images/s"),
            record("detect", f"our load / perf_analyzer, {name}", ratios, "x"),
        ]
    return found


def publish(plan: Plan, bench: Bench) -> list[Record]:
    """References a second, from the job to its seal, with no consumer."""
    count = plan.pick(200_000, 1_000_000)
    manifest = load.write_manifest(plan.work / "publish.jsonl", ["file:///nowhere.jpg"], count)
    runs = plan.repeat(
        "publish", lambda: count / asyncio.run(_sealed_within(bench, manifest, plan.model.info)), most=plan.pick(1, 3)
    )
    return [record("publish", f"publish, a job of {count:,}", runs, "references/s", at_least=PUBLISHED)]


async def _sealed_within(bench: Bench, manifest: Path, model: ModelInfo) -> float:
    """Seconds from the job's spec to its seal, by Kafka's times of both."""
    spec = await bench.submit(manifest, model)
    first: float | None = None
    async with contextlib.aclosing(kafka.follow(bench.kafka, topics.JOBS)) as batches:
        async for records in batches:
            for one in records:
                if one.key == spec.job.encode():
                    first = first if first is not None else one.timestamp / 1000
                    if messages.decode(one.value, JobSpec).total is not None:
                        return float(one.timestamp / 1000 - first)
    raise AssertionError("a topic does not end")


def _read(uris: Sequence[str]) -> list[bytes]:
    async def work() -> list[bytes]:
        async with Fetcher(ConsumerSettings(home=Path("/"))) as fetcher:
            return await asyncio.gather(*(fetcher.fetch(uri) for uri in uris))

    return asyncio.run(work())
