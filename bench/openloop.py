"""An open loop: references come when they are due, whatever the system does, and an image's latency counts from there.

A load that waits for answers before it goes on leaves out what a slow moment costs those who would have come meanwhile
(coordinated omission). Here nobody waits: what comes late was due all the same.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer, TopicPartition

from bench import load
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import Bench
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import ImageRef, JobSpec, Lane, ModelInfo

_WARM_SECONDS = 2.0
"""Images that are due within this are not counted: the first of them find every stage cold."""
_KEPT_UP = 0.98
"""Of what was offered: less is a system that falls behind."""


def due(seq: int, rate: float, burst: int = 1) -> float:
    """Seconds after the start at which image `seq` is due: `rate` a second on average, `burst` of them at once."""
    return seq // burst * burst / rate


@dataclass(frozen=True)
class Answers:
    """When the answers to an open loop were there."""

    dues: Sequence[float]
    """Of each image, in seconds after the start."""
    seen: dict[int, float]
    """Of each that was answered, by its number: when its answer could be read."""
    ended: float
    """When it was no longer waited for."""

    @property
    def unanswered(self) -> int:
        """Images that were still waiting in the end."""
        return len(self.dues) - len(self.seen)

    def latencies(self, warm: float = _WARM_SECONDS) -> list[float]:
        """Seconds from due to answered. Of one that was never answered: what it had waited for, which is the least."""
        return [self.seen.get(seq, self.ended) - at for seq, at in enumerate(self.dues) if at >= warm]

    def rate(self, warm: float = _WARM_SECONDS) -> float:
        """Answers a second while images came."""
        last = self.dues[-1]
        return sum(warm <= at < last for at in self.seen.values()) / max(last - warm, 1e-9)


def new_job(model: ModelInfo, images: int, lane: Lane = Lane.BULK) -> JobSpec:
    """A job whose references somebody else publishes: it is sealed from the start."""
    return JobSpec(
        job=messages.new_job_id("offered"), name="offered", lane=lane, model=model, threshold=0.005,
        images=images, manifest_sha256="0" * 64, created=time.time(), total=images,
    )  # fmt: skip


async def offer(
    producer: AIOKafkaProducer, spec: JobSpec, uris: Sequence[str], rate: float, burst: int, start: float
) -> None:
    """Publishes each reference of the job when it is due. `start` is of time.monotonic."""
    names = itertools.cycle(uris)
    for seq in range(spec.images):
        if (early := start + due(seq, rate, burst) - time.monotonic()) > 0:
            await asyncio.sleep(early)
        ref = ImageRef(job=spec.job, seq=seq, file=f"{seq}.jpg", uri=next(names))
        await producer.send(topics.lane_topic(spec.lane).name, messages.encode(ref))


@contextlib.asynccontextmanager
async def trickle(
    bench: Bench, uris: Sequence[str], model: ModelInfo, rate: float, lane: Lane = Lane.BULK
) -> AsyncIterator[JobSpec]:
    """A job whose references come at `rate` a second: an open loop, which waits for nobody."""
    spec = new_job(model, 1_000_000, lane)
    producer = await kafka.start_producer(bench.kafka)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
    sending = asyncio.create_task(offer(producer, spec, uris, rate, 1, time.monotonic()))
    try:
        yield spec
    finally:
        sending.cancel()
        await producer.stop()


class _Answer(msgspec.Struct):
    """What is read of a result."""

    job: str
    seq: int


@contextlib.asynccontextmanager
async def _reading(servers: str, job: str) -> AsyncIterator[kafka.Consumer]:
    """A reader of the results that come from now on, of the partition that the job's go to."""
    reader = kafka.Consumer(bootstrap_servers=servers, fetch_max_wait_ms=100)
    await reader.start()
    try:
        part = TopicPartition(topics.DETECTIONS.name, kafka.job_partition(job))
        reader.assign([part])
        await reader.seek_to_end(part)
        await reader.position(part)  # else the end is looked up only once something is read
        yield reader
    finally:
        await reader.stop()


async def run(bench: Bench, uris: Sequence[str], model: ModelInfo, rate: float, burst: int, seconds: float) -> Answers:
    """Offers images for some seconds and waits as long again for what is left of them; then the job is cancelled."""
    count = max(2 * burst, round(rate * (seconds + _WARM_SECONDS)))
    spec = new_job(model, count)
    seen: dict[int, float] = {}
    dues = [due(seq, rate, burst) for seq in range(count)]
    producer = await kafka.start_producer(bench.kafka)
    sending: asyncio.Task[None] | None = None
    try:
        async with _reading(bench.kafka, spec.job) as reader:
            await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
            start = time.monotonic()
            sending = asyncio.create_task(offer(producer, spec, uris, rate, burst, start))
            while len(seen) < count and time.monotonic() < start + dues[-1] + seconds:
                for records in (await reader.getmany(timeout_ms=100)).values():
                    now = time.monotonic() - start
                    answers = (msgspec.json.decode(one.value, type=_Answer) for one in records)
                    for seq in [answer.seq for answer in answers if answer.job == spec.job]:
                        seen.setdefault(seq, now)
            ended = time.monotonic() - start
            await sending
    finally:
        if sending is not None:
            sending.cancel()
        await producer.stop()
    if len(seen) < count:
        await bench.cancelled(spec)
    return Answers(dues, seen, ended)


def offered(plan: Plan, bench: Bench, rate: float, burst: int) -> list[Record]:
    """The rate that is achieved of what is offered, and the latency of an image from when it was due."""
    uris, what = load.uris(plan.images, plan.say), f"{rate:g}/s offered" + (f", {burst} at once" if burst > 1 else "")
    plan.progress(f"warm-up, {what}", 1)
    bench.run(load.write_manifest(plan.work / "offered-warm.jsonl", uris, 200), plan.model.info)
    runs: list[Answers] = []

    def once() -> float:
        found = asyncio.run(run(bench, uris, plan.model.info, rate, burst, 2 * plan.seconds))
        runs.append(found)
        return found.rate()

    achieved = plan.repeat(what, once, most=plan.pick(1, 3))
    left = max(found.unanswered for found in runs)
    if achieved.value < _KEPT_UP * rate:
        plan.say(
            f"{rate:g} images/s were offered and {achieved.value:.3g} done: what waits grows as long as this goes on, "
            "and so do the latencies"
        )
    quantiles = [np.quantile(found.latencies(), (0.5, 0.9, 0.99, 1.0)) for found in runs]
    made = [
        record(
            "offered", f"{what}: done, {plan.label}", achieved, "images/s", at_least=_KEPT_UP * rate, offered=rate,
            burst=burst, unanswered=left,
        )
    ]  # fmt: skip
    for number, name in enumerate(("median", "90 %", "99 %", "longest")):
        values = Runs(tuple(1000 * float(each[number]) for each in quantiles))
        made.append(record("offered", f"{what}: latency from due, {name}", values, "ms"))
    return made
