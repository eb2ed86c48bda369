"""Repair: what a sealed job lacks once its lane is drained is published again, twice at the most, then given up."""

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
from aiokafka.errors import KafkaError

from aggregator.lease import Lease, Released
from aggregator.lost import Figures, Offsets, Watch
from aggregator.partitions import Partitions
from trapstream.core import kafka, lag, log, messages, metrics, topics
from trapstream.core.errors import Reason, Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.messages import ImageResult, JobSpec, Lane, Outcome, StageTimes
from trapstream.core.result_store import ManifestLine, decode_line, manifest_path, reference
from trapstream.core.settings import AggregatorSettings
from trapstream.results.entry import failure_entry
from trapstream.results.fold import PIECE

ATTEMPTS = 2
"""How often missing images are published again."""
_TOGETHER = 500
"""Messages on their way at once."""


class Repair:
    """Looks after the sealed jobs of our partitions that get no results any more."""

    def __init__(self, settings: AggregatorSettings, partitions: Partitions, table: JobTable) -> None:
        self._settings = settings
        self._partitions = partitions
        self._table = table

    async def run(self) -> None:
        """Looks now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.repair_seconds / 4)
            now = time.time()
            due = [(lease, spec) for lease in self._partitions.leases.values() for spec in self._watch(lease, now)]
            if not due:
                continue
            try:
                newest = await _figures(self._settings.kafka)
                for lease, spec in due:
                    await self._repair(lease, spec, newest)
            except Released:
                pass  # whoever has the partition now looks at the others as well
            except (Retryable, KafkaError, OSError) as error:
                log.get_logger().warning("repair put off", error=str(error))

    def _watch(self, lease: Lease, now: float) -> Iterator[JobSpec]:
        """Watches the sealed jobs of a partition that lack images. Those that got no result for a while."""
        for job in lease.watched.keys() - lease.progress.keys():
            del lease.watched[job]
        for job, progress in lease.progress.items():
            spec = self._table.specs.get(job)
            if spec is None or not spec.total or spec.cancelled or spec.failed is not None:
                continue
            if job in lease.ended or job in lease.ending:
                lease.watched.pop(job, None)
                continue
            watch = lease.watched.setdefault(job, Watch(since=now))
            if now - max(watch.since, progress.last) >= self._settings.repair_seconds:
                yield spec

    async def _repair(self, lease: Lease, spec: JobSpec, newest: Figures) -> None:
        """One job, in steps that a kill may part anywhere."""
        job, watch = spec.job, lease.watched.get(spec.job)
        if watch is None or not watch.update(newest, spec.lane, lease.partition, lease.store_offset or 0):
            return
        # 1. What was tried. Killed up to here: the next owner waits anew, and comes to the same.
        end = await lease.with_store(lambda store: store.job(job).end)
        path = manifest_path(self._settings.results, job)
        trouble = await asyncio.to_thread(_trouble, path, spec)
        if end.file_lost or trouble is not None:
            trouble = trouble or "it had ended before; its file and its results are gone: submit it again"
            if lease.progress_of(job).message is None:
                log.get_logger().error("images without an answer", job=job, error=trouble)
                lease.set_message(job, f"images without an answer: {trouble}")
            lease.watched[job] = Watch(since=time.time())
            return
        # 2. Send. Killed in it or after it: it is not written down, so all of it is sent again; the first result of
        #    an image counts.
        if end.attempts < ATTEMPTS:
            sent = await self._send(lease, spec, path, topics.lane_topic(spec.lane), None, published_again)
            metrics.REPAIRED.inc(sent)
            # 3. Write the attempt down: it is in Kafka as a whole. Killed after it: the next owner waits for results.
            attempts = end.attempts + 1
            await lease.with_store(lambda store: store.change_end(job, attempts=attempts))
            message = f"{sent} images had no answer and were published again ({attempts} of {ATTEMPTS} times)"
        else:
            # The failures go through the log like any result: the file stays a function of the log.
            sent = await self._send(lease, spec, path, topics.DETECTIONS, job.encode(), never_answered)
            metrics.FAILURES.labels(Reason.LOST).inc(sent)
            message = f"{sent} images had no answer and were given up"
        log.get_logger().warning("repair", job=job, lane=spec.lane, images=sent, attempts=end.attempts)
        lease.set_message(job, message)
        lease.watched[job] = Watch(since=time.time())

    async def _send(
        self,
        lease: Lease,
        spec: JobSpec,
        path: Path,
        topic: topics.Topic,
        key: bytes | None,
        message: Callable[[JobSpec, int, ManifestLine], bytes],
    ) -> int:
        """Sends a message for each missing image, acknowledged; how many. A client of its own: if it fails, no other
        message suffers."""
        producer = await kafka.start_producer(self._settings.kafka)
        sent = 0
        try:
            async for some in _missing(lease, spec, path):
                await asyncio.gather(*[await producer.send(topic.name, message(spec, *each), key) for each in some])
                sent += len(some)
        finally:
            await producer.stop()
        return sent


def published_again(spec: JobSpec, seq: int, line: ManifestLine) -> bytes:
    """The image's reference, as the producer made it."""
    return messages.encode(reference(spec.job, seq, line))


def never_answered(spec: JobSpec, seq: int, line: ManifestLine) -> bytes:
    """The result that the image is lost."""
    return messages.encode(
        ImageResult(
            job=spec.job,
            seq=seq,
            outcome=Outcome.FAILED,
            reason=Reason.LOST,
            entry=msgspec.Raw(failure_entry(line.file, line.meta, Reason.LOST)),
            model=spec.model.label,
            ms=StageTimes(),
        )
    )


async def _figures(servers: str) -> Figures:
    """Asks Kafka how far the lanes are read and where topics end. Retryable if it does not answer."""
    async with lag.connected(servers) as asked:
        read: dict[Lane, Offsets] = {}
        for lane in Lane:
            read[lane] = {number: part.offset for number, part in (await asked.answered(lane)).items()}
        results = await asked.ends(topics.DETECTIONS)
        return Figures(
            read=read, results=results, ends={lane: await asked.ends(topics.lane_topic(lane)) for lane in Lane}
        )


async def _missing(lease: Lease, spec: JobSpec, path: Path) -> AsyncIterator[list[tuple[int, ManifestLine]]]:
    """Seq and line of the images without a result, a piece of the manifest in memory at a time."""
    with path.open("rb") as manifest:
        for first in range(0, spec.total or 0, PIECE):
            lines = await asyncio.to_thread(lambda: list(itertools.islice(manifest, PIECE)))
            seen = await lease.with_store(lambda store, piece=first // PIECE: store.job(spec.job).fold.bits(piece))  # type: ignore[misc]
            missing = [number for number in range(len(lines)) if not seen[number >> 3] & (1 << (number & 7))]
            for start in range(0, len(missing), _TOGETHER):
                numbers = missing[start : start + _TOGETHER]
                yield [(first + number, decode_line(lines[number])) for number in numbers]


def _trouble(path: Path, spec: JobSpec) -> str | None:
    """Why the stored manifest is of no use; None if it is what was submitted."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"the stored manifest cannot be read ({error.strerror}): put it back, or cancel the job"
    if digest != spec.manifest_sha256:
        return "the stored manifest is not the job's (its digest is another): put it back, or cancel the job"
    return None
