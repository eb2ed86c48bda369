"""Emit: an answer becomes a message, and only then is its reference done."""

import asyncio
import functools

import msgspec
from aiokafka.errors import KafkaError
from prometheus_client import Histogram

from consumer.work import Answer
from trapstream.core import faults, kafka, messages, metrics, retry, topics
from trapstream.core.channel import Channel, Closed
from trapstream.core.errors import Retryable
from trapstream.core.messages import ImageResult, Lane, Outcome, StageTimes
from trapstream.core.meters import Meter

_MOST = 256
"""Answers sent together."""


async def emit(answers: Channel[Answer], producer: kafka.Outbox, meter: Meter) -> None:
    """Sends answers until the channel is closed and empty.

    The steps, and what a death after each of them costs:
    """
    while True:
        try:
            # 1. Take what is ready. Death: no offset was committed, so the images are done again.
            batch = await answers.receive_batch(_MOST)
        except Closed:
            return
        faults.reach("emit.1")
        # 2. Produce, keyed by job. Death: some results may be in the log and come again; the fold takes the first.
        # 3. Await every acknowledgement. Death: as after 2.
        with meter.work:
            await asyncio.gather(*(_send(producer, answer) for answer in batch))
        meter.images += len(batch)
        faults.reach("emit.3")
        for answer in batch:
            # 4. Mark the offset done. Death: the committed offset is older, so the images are done again.
            answer.task.done()
            _count(answer)
            faults.reach("emit.4")
        # 5. `Intake.commit` commits the watermark from time to time, offsets last of all.


async def _send(producer: kafka.Outbox, answer: Answer) -> None:
    ref, spent = answer.task.ref, answer.task.times.spent
    value = messages.encode(
        ImageResult(
            job=ref.job,
            seq=ref.seq,
            outcome=answer.outcome,
            reason=answer.reason,
            entry=msgspec.Raw(answer.entry),
            model=answer.task.spec.model.label,
            ms=StageTimes(**{stage: round(milliseconds, 2) for stage, milliseconds in spent.items()}),
        )
    )

    async def send() -> None:
        try:
            sent = await producer.send(topics.DETECTIONS.name, value, key=ref.job.encode())
            faults.reach("emit.2")
            await sent
        except KafkaError as error:
            raise Retryable(repr(error)) from error

    await retry.until_back(send, "kafka")


def _count(answer: Answer) -> None:
    lane, times = answer.task.lane, answer.task.times
    metrics.IMAGES.labels(lane, answer.outcome).inc()
    if answer.outcome is Outcome.FAILED and answer.reason is not None:
        metrics.FAILURES.labels(answer.reason).inc()
    times.end("emit")
    for stage, spent in times.spent.items():
        _stage(lane, stage).observe(spent / 1000)
    _answered(lane).observe(sum(times.spent.values()) / 1000)


@functools.cache
def _stage(lane: Lane, stage: str) -> Histogram:
    return metrics.STAGE_SECONDS.labels(lane, stage)


@functools.cache
def _answered(lane: Lane) -> Histogram:
    return metrics.ANSWER_SECONDS.labels(lane)
