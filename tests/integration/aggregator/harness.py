"""An aggregator as a real process, and jobs made of results alone."""

import asyncio
import contextlib
import io
import itertools
import random
import resource
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from tests.integration.service import Service, service
from tests.unit.values import MODEL, job_spec
from tests.waiting import patient
from trapstream.core import kafka, messages, status, topics
from trapstream.core.errors import Reason, failure_text
from trapstream.core.messages import ImageResult, JobSpec, JobState, JobStatus, Outcome, StageTimes
from trapstream.core.result_store import result_path
from trapstream.results.fold import counts
from trapstream.results.write import write_result

LEAST = 16_384
"""Bytes to which a file may grow where each write shall fail: the log, which is written too, stays below."""


@contextlib.contextmanager
def aggregator(home: Path, servers: str, member: str = "test", start: bool = True) -> Iterator[Service]:
    """A running aggregator, gone afterwards."""
    with service(
        "aggregator", home, servers, member, start, fold_batch="200", quiet_seconds="0.5", drain_seconds="5"
    ) as process:
        yield process


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A disk of its own at `folder`; False where this user may mount none."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def no_space(folder: Path, process: Service, disk: bool) -> Iterator[None]:
    """The disk at `folder` is full until the end of the block; without one the system refuses `process` each write."""
    if disk:
        filler = folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
        filler.unlink()
    else:
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LEAST, most))
        yield
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))


def results(job: str, images: int) -> list[ImageResult]:
    """One answer for each image: found, empty and failed in turn."""
    return [result(job, seq) for seq in range(images)]


def result(job: str, seq: int, variant: int = 0) -> ImageResult:
    """The answer for one image. Variants differ in their bytes, as those of two consumers may."""
    name = f"site ä/IMG_{seq:06d}.JPG"
    kind = seq % 3
    if kind == 2:
        reason = (Reason.NOT_FOUND, Reason.DAMAGED)[seq % 2]
        entry: dict[str, object] = {
            "file": name,
            "failure": failure_text(reason, f"try {variant}"),
            "detections": None,
        }
        outcome = Outcome.FAILED
    else:
        found = {"category": "1", "conf": 0.9 - variant / 100, "bbox": [0.1, 0.2, 0.3, 0.4]}
        entry = {"file": name, "detections": [found] if kind == 0 else []}
        outcome, reason = (Outcome.DETECTED, Outcome.EMPTY)[kind], None
    return ImageResult(
        job=job,
        seq=seq,
        outcome=outcome,
        reason=reason if kind == 2 else None,
        entry=msgspec.Raw(msgspec.json.encode(entry)),
        model=MODEL.label,
        ms=StageTimes(),
    )


def beside(job: str) -> Iterator[str]:
    """Names of other jobs on the same partition."""
    partition = kafka.job_partition(job)
    return (name for number in itertools.count() if kafka.job_partition(name := f"{job}-{number}") == partition)


def shuffled(answers: Sequence[ImageResult], seed: int = 1) -> list[ImageResult]:
    """Out of order, and every fifth of them a second time with other bytes."""
    mixed = list(answers) + [result(answer.job, answer.seq, variant=1) for answer in answers[::5]]
    random.Random(seed).shuffle(mixed)
    return mixed


def expected(spec: JobSpec, log: Sequence[ImageResult]) -> bytes:
    """The bytes that the job's file must have: the first answer of each image in the log's order."""
    first: dict[int, ImageResult] = {}
    for answer in log:
        first.setdefault(answer.seq, answer)
    tally = Counter(answer.reason or answer.outcome for answer in first.values())
    out = io.BytesIO()
    write_result(spec, counts(tally), [bytes(first[seq].entry) for seq in sorted(first)], out)
    return out.getvalue()


def sealed(job: str, images: int, **changes: object) -> JobSpec:
    """A job that awaits `images` results."""
    return job_spec(job=job, images=images, total=images, **changes)


async def send(servers: str, topic: topics.Topic, values: Sequence[tuple[str, bytes]]) -> None:
    """Sends (key, value) pairs in this order, acknowledged."""
    producer = await kafka.start_producer(servers)
    try:
        sent = [await producer.send(topic.name, value, key.encode()) for key, value in values]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def send_spec(servers: str, spec: JobSpec) -> None:
    """Makes or changes a job."""
    await send(servers, topics.JOBS, [(spec.job, messages.encode(spec))])


async def send_results(servers: str, answers: Sequence[ImageResult]) -> None:
    """Sends answers in this order."""
    await send(servers, topics.DETECTIONS, [(answer.job, messages.encode(answer)) for answer in answers])


async def send_status(servers: str, status: JobStatus, **changes: object) -> None:
    """Says something else of a job."""
    changed = msgspec.structs.replace(status, **changes)
    await send(servers, topics.STATUS, [(status.job, messages.encode(changed))])


async def wait_status(servers: str, job: str, accept: Callable[[JobStatus], bool], seconds: float = 30.0) -> JobStatus:
    """The first status of the job that `accept` takes, also behind the one with which it had ended."""
    async with asyncio.timeout(patient(seconds)):
        async with contextlib.aclosing(status.changes(servers, topics.STATUS, JobStatus)) as batches:
            async for batch in batches:
                for name, found in batch:
                    if name == job and found is not None and accept(found):
                        return found
    raise AssertionError("a topic never ends")


async def wait_file(home: Path, servers: str, job: str, state: JobState = JobState.COMPLETED) -> bytes:
    """The job's file, once its last status speaks of the one in this home."""
    path = result_path(home / "results", job)
    await wait_status(servers, job, lambda found: found.state is state and found.location == str(path))
    return path.read_bytes()
