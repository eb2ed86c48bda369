"""Emit: what was found, or what failed, becomes a message, and only then is its reference done."""

import asyncio
import contextlib
import functools
from typing import Any

import msgspec

from consumer.detect import Detections
from consumer.work import Answer, Task
from trapstream.core import faults, kafka, log, messages, metrics, retry, topics
from trapstream.core.channel import Channel
from trapstream.core.errors import Permanent
from trapstream.core.messages import ImageResult, Lane, Outcome, StageTimes
from trapstream.core.meters import Meter
from trapstream.core.outbox import Outbox
from trapstream.images import shot
from trapstream.images.letterbox import Letterbox, to_source
from trapstream.results.entry import entry, failure_entry

_MOST = 512
"""Answers sent together."""
_LINGER = 0.05
"""Seconds from one sending to the next while there are only bulk answers: a request costs Kafka and both its clients
as much as the work on dozens of records."""

Records = list[tuple[bytes, bytes]]
"""Keys and values."""


def answered(task: Task, letterbox: Letterbox, found: Detections | Permanent) -> Answer:
    """The answer to what the detector said of an image: its boxes, or a failure where it refused or they are none."""
    if isinstance(found, Permanent):
        return failed(task, found)
    ref, spec = task.ref, task.spec
    size, rows = (letterbox.source_width, letterbox.source_height), to_source(letterbox, found)
    try:
        if task.shot is None:
            outcome, value = entry(ref.file, ref.meta, size, rows, spec.threshold, spec.model)
        else:
            facts, taken = shot.meta(ref, task.shot), shot.taken(ref, task.shot)
            outcome, value = entry(ref.file, facts, size, rows, spec.threshold, spec.model, taken)
    except Permanent as error:
        return failed(task, error)
    return Answer(task, outcome, None, value)


def failed(task: Task, error: Permanent) -> Answer:
    """The answer of an image that cannot have another."""
    log.get_logger().info("image failed", job=task.ref.job, file=task.ref.file, error=str(error))
    value = failure_entry(task.ref.file, task.ref.meta, error.reason, error.detail)
    return Answer(task, Outcome.FAILED, error.reason, value)


async def emit(answers: Channel[Answer], producer: Outbox, meter: Meter) -> None:
    """Sends answers until cancelled.

    The steps, and what a death after each of them costs:
    """
    sent = float("-inf")
    while True:
        # 1. Take what is ready. Death: no offset was committed, so the images are done again.
        batch = await _take(answers, sent + _LINGER)
        faults.reach("emit.1")
        # 2. Produce, keyed by job. Death: some results may be in the log and come again; the fold takes the first.
        # 3. Await every acknowledgement. Death: as after 2.
        sent = asyncio.get_running_loop().time()
        with meter.work:
            await asyncio.gather(*(_send(producer, number, part) for number, part in _by_partition(batch).items()))
        meter.images += len(batch)
        faults.reach("emit.3")
        for answer in batch:
            # 4. Mark the offset done. Death: the committed offset is older, so the images are done again.
            answer.task.done()
            _count(answer)
            faults.reach("emit.4")
        # 5. `Intake.commit` commits the watermark from time to time, offsets last of all.


async def _take(answers: Channel[Answer], until: float) -> list[Answer]:
    """What is ready. Bulk answers wait for more until the loop's clock says `until`; a live one goes at once."""
    batch = await answers.receive_batch(_MOST)
    if asyncio.get_running_loop().time() < until:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                more = batch
                while len(batch) < _MOST and all(answer.task.lane is Lane.BULK for answer in more):
                    more = await answers.receive_batch(_MOST - len(batch))
                    batch += more
    return batch


def _by_partition(batch: list[Answer]) -> dict[int, Records]:
    """The messages of `batch` by their partition of `detections`, in their order."""
    parts: dict[int, Records] = {}
    for answer in batch:
        job = answer.task.ref.job
        parts.setdefault(kafka.job_partition(job), []).append((job.encode(), _message(answer)))
    return parts


async def _send(producer: Outbox, partition: int, records: Records) -> None:
    async def send() -> None:
        with kafka.retryable("results"):
            sent = await producer.send_batch(topics.DETECTIONS.name, partition, records)
            faults.reach("emit.2")
            await asyncio.gather(*sent)

    await retry.until_back(send, "kafka")


def _message(answer: Answer) -> bytes:
    ref, spent = answer.task.ref, answer.task.times.spent
    return messages.encode(
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


def _count(answer: Answer) -> None:
    lane, times = answer.task.lane, answer.task.times
    _labelled(metrics.IMAGES, lane, answer.outcome).inc()
    if answer.outcome is Outcome.FAILED and answer.reason is not None:
        metrics.FAILURES.labels(answer.reason).inc()
    times.end("emit")
    for stage, spent in times.spent.items():
        _labelled(metrics.STAGE_SECONDS, lane, stage).observe(spent / 1000)
    _labelled(metrics.ANSWER_SECONDS, lane).observe(sum(times.spent.values()) / 1000)


@functools.cache
def _labelled(metric: Any, *labels: str) -> Any:
    """`metric.labels`, looked up once: it costs more than counting does."""
    return metric.labels(*labels)
