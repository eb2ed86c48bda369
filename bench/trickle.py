"""A job whose references come at a rate, whatever the system does with them: an open loop."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaProducer

from bench.stacks import Bench
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import ImageRef, JobSpec, Lane, ModelInfo

_IMAGES = 1_000_000
"""More than are ever published."""


@contextlib.asynccontextmanager
async def trickle(
    bench: Bench, uris: Sequence[str], model: ModelInfo, rate: float, lane: Lane = Lane.BULK
) -> AsyncIterator[JobSpec]:
    """A job to which `rate` references a second are published, past the producer, until the block ends."""
    spec = JobSpec(
        job=messages.new_job_id("trickle"), name="trickle", lane=lane, model=model, threshold=0.005, images=_IMAGES,
        manifest_sha256="0" * 64, created=time.time(), total=_IMAGES,
    )  # fmt: skip
    producer = await kafka.start_producer(bench.kafka)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
    sending = asyncio.create_task(_publish(producer, spec, uris, rate))
    try:
        yield spec
    finally:
        sending.cancel()
        await producer.stop()


async def _publish(producer: AIOKafkaProducer, spec: JobSpec, uris: Sequence[str], rate: float) -> None:
    start, names = time.monotonic(), itertools.cycle(uris)
    for seq in range(spec.images):
        if (early := start + seq / rate - time.monotonic()) > 0:
            await asyncio.sleep(early)
        ref = ImageRef(job=spec.job, seq=seq, file=f"{seq}.jpg", uri=next(names))
        await producer.send(topics.lane_topic(spec.lane).name, messages.encode(ref))
