"""Making a job: SOURCE -> stored manifest -> JobSpec in the `jobs` topic. Cancelling one."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec.structs import replace

from trapstream.core import kafka, messages, status, topics
from trapstream.core.errors import Retryable, TrapstreamError
from trapstream.core.messages import JobSpec, Lane, ModelInfo, Webhook
from trapstream.core.result_store import ManifestLine, manifest_path, whole_file
from trapstream.jobs import sources
from trapstream.jobs.manifest import Notes

_BATCH = 1000
_LEAVE_SECONDS = 2.0


class SubmitError(TrapstreamError):
    """The job could not be made or changed. The text is one line that says what to do."""


@dataclass(frozen=True)
class Manifest:
    """A stored manifest."""

    images: int
    sha256: str
    """Of its bytes."""
    notes: tuple[str, ...]
    """What was left out, a line for each kind."""


async def make_manifest(
    results: Path, job: str, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None
) -> Manifest:
    """Reads the SOURCEs `texts` into the job's manifest in the result store, off the event loop.

    `progress` takes the number of images so far, on the event loop. SourceError for a SOURCE that cannot be read,
    SubmitError for a store that cannot be written: no manifest is left then.
    """
    loop = asyncio.get_running_loop()
    left = threading.Event()

    def tick(count: int) -> None:
        if left.is_set():
            raise SubmitError("given up")  # nobody hears this: it ends the thread
        loop.call_soon_threadsafe(progress, count)

    made: asyncio.Future[Manifest] = loop.create_future()

    def work() -> None:
        try:
            manifest = write_manifest(results, job, texts, tick)
        except BaseException as error:  # whatever it is, it belongs to who waits
            _tell(loop, made, None, error)
        else:
            _tell(loop, made, manifest, None)

    # A daemon: who leaves need not wait for a standard input that does not end.
    thread = threading.Thread(target=work, daemon=True, name="manifest")
    thread.start()
    try:
        return await made
    except asyncio.CancelledError:
        left.set()
        await asyncio.to_thread(thread.join, _LEAVE_SECONDS)  # so that it takes its half-made file away
        raise


def write_manifest(results: Path, job: str, texts: Sequence[str], tick: Callable[[int], None]) -> Manifest:
    """As `make_manifest`, in this thread. An error raised by `tick` ends it."""
    notes = Notes()
    lines = sources.manifest_lines(sources.open_sources(texts), notes)
    # The first batch before the file: a SOURCE without images leaves no trace.
    first = list(islice(lines, _BATCH))
    images = 0
    try:
        with whole_file(manifest_path(results, job)) as file:
            for batch in _batches(first, lines):
                file.write(b"".join([messages.encode(line) + b"\n" for line in batch]))
                images += len(batch)
                tick(images)
            digest = file.sha256
    except OSError as error:
        raise SubmitError(
            f"cannot write the manifest to {results}: {error.strerror}; make room or permit it, and submit again"
        ) from error
    return Manifest(images, digest, tuple(notes.lines()))


async def submit(
    servers: str,
    results: Path,
    texts: Sequence[str],
    *,
    name: str,
    lane: Lane,
    model: ModelInfo,
    threshold: float,
    webhooks: tuple[Webhook, ...] = (),
    weight: int = 1,
    progress: Callable[[int], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    lacking: Callable[[int, int], str | None] = lambda _images, _bytes: None,
    new_id: Callable[[str], str] = messages.new_job_id,
) -> JobSpec:
    """Makes a job of the SOURCEs `texts`; returns its spec once Kafka has it. The producer then publishes it.

    `progress` takes the number of images read so far, `note` a line on what was left out. `lacking` is given the
    number of images and the manifest's bytes, and answers with a line if there is no room for them. SourceError,
    SubmitError, or Retryable where Kafka does not answer: then no job was made.
    """
    job = new_id(name)
    async with _producer(servers) as producer:
        manifest = await make_manifest(results, job, texts, progress)
        for line in manifest.notes:
            note(line)
        spec = JobSpec(
            job=job,
            name=name,
            lane=lane,
            model=model,
            threshold=threshold,
            images=manifest.images,
            manifest_sha256=manifest.sha256,
            created=time.time(),
            webhooks=webhooks,
            weight=weight,
        )
        await _announce(producer, results, spec, lacking)
    return spec


async def replay(
    servers: str,
    results: Path,
    earlier: JobSpec,
    *,
    name: str,
    model: ModelInfo,
    lacking: Callable[[int, int], str | None] = lambda _images, _bytes: None,
    new_id: Callable[[str], str] = messages.new_job_id,
) -> JobSpec:
    """As `submit`, of the stored manifest of an `earlier` job: nothing is listed again, and nothing is left out."""
    job = new_id(name)
    async with _producer(servers) as producer:
        await asyncio.to_thread(reuse_manifest, results, earlier.job, job)
        spec = JobSpec(
            job=job,
            name=name,
            lane=Lane.BULK,
            model=model,
            threshold=earlier.threshold,
            images=earlier.images,
            manifest_sha256=earlier.manifest_sha256,
            created=time.time(),
        )
        await _announce(producer, results, spec, lacking)
    return spec


def reuse_manifest(results: Path, earlier: str, job: str) -> None:
    """Gives an earlier job's stored manifest to `job` too. SubmitError if it is not there or cannot be copied.

    It is never written again, so a link does, where the disk has links.
    """
    stored, manifest = manifest_path(results, earlier), manifest_path(results, job)
    try:
        try:
            manifest.hardlink_to(stored)
        except FileNotFoundError:
            raise
        except OSError:
            with stored.open("rb") as source, whole_file(manifest) as file:
                while block := source.read(1 << 20):
                    file.write(block)
    except OSError as error:
        raise SubmitError(
            f"the manifest {stored} cannot be used again: {error.strerror}; submit its images as a new job"
        ) from error


async def _announce(
    producer: AIOKafkaProducer, results: Path, spec: JobSpec, lacking: Callable[[int, int], str | None]
) -> None:
    """Makes the job known, if there is room for it; if not, its manifest goes."""
    path = manifest_path(results, spec.job)
    if (lack := lacking(spec.images, path.stat().st_size)) is not None:
        path.unlink()
        raise SubmitError(lack)
    await _write(producer, spec)


async def cancel(servers: str, job: str) -> JobSpec:
    """Marks the job as cancelled; returns its spec. SubmitError if there is no such job, or it has ended."""
    async with _answer_within(servers):
        spec = (await status.read_specs(servers)).get(job)
    if spec is None:
        raise SubmitError(f"there is no job {job}: `trapstream status` lists them")
    if spec.failed is not None:
        raise SubmitError(f"job {job} has failed already: {spec.failed}")
    if not spec.cancelled:
        spec = replace(spec, cancelled=True)
        async with _producer(servers) as producer:
            await _write(producer, spec)
    return spec


@contextlib.asynccontextmanager
async def _answer_within(servers: str, seconds: float = 15.0) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Retryable(f"Kafka at {servers} does not answer: is the stack up?") from None


@contextlib.asynccontextmanager
async def _producer(servers: str) -> AsyncIterator[AIOKafkaProducer]:
    async with _answer_within(servers):
        await kafka.create_topics(servers)
        producer = await kafka.start_producer(servers)
    try:
        yield producer
    finally:
        await producer.stop()


async def _write(producer: AIOKafkaProducer, spec: JobSpec, seconds: float = 60.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), key=spec.job.encode())
    except (KafkaError, TimeoutError) as error:
        raise Retryable(f"Kafka did not take job {spec.job}: {error!r}") from error


def _batches(first: list[ManifestLine], rest: Iterator[ManifestLine]) -> Iterable[list[ManifestLine]]:
    batch = first
    while batch:
        yield batch
        batch = list(islice(rest, _BATCH))


def _tell(
    loop: asyncio.AbstractEventLoop,
    made: asyncio.Future[Manifest],
    manifest: Manifest | None,
    error: BaseException | None,
) -> None:
    def settle() -> None:
        if made.done():
            return
        if manifest is not None:
            made.set_result(manifest)
        else:
            made.set_exception(error or SubmitError("given up"))

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)
