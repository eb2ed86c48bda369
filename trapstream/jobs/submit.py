"""Making a job: SOURCE -> stored manifest -> JobSpec in the `jobs` topic. Cancelling one."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec.structs import replace

from trapstream.core import kafka, messages, status, topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec, Lane, ModelInfo, Webhook
from trapstream.core.result_store import manifest_path
from trapstream.jobs.stored_manifest import SubmitError, make_manifest, reuse_manifest

_ANSWER_SECONDS = 15.0
_WRITE_SECONDS = 60.0
_STOP_SECONDS = 5.0


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
    anyway: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    lacking: Callable[[int, int], str | None] = lambda _images, _bytes: None,
    new_id: Callable[[str], str] = messages.new_job_id,
) -> JobSpec:
    """Makes a job of the SOURCEs `texts`; returns its spec once Kafka has it. The producer then publishes it.

    `progress` takes the number of images read so far, `note` a line about entries that were left out; with
    `anyway`, a list may name what is not there. `lacking` is
    given the number of images and the manifest's bytes, and returns a line if there is no room for them. SourceError,
    SubmitError, or Retryable where Kafka does not answer: then the images may be submitted again, and none is done
    twice.
    """
    job = new_id(name)
    async with _producer(servers) as producer:
        manifest = await make_manifest(results, job, texts, progress, anyway)
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
            left_out=manifest.left_out or msgspec.UNSET,
        )
        await _announce(servers, producer, results, spec, lacking)
    return spec


async def replay(
    servers: str,
    results: Path,
    earlier: JobSpec,
    *,
    name: str,
    model: ModelInfo,
    lacking: Callable[[int, int], str | None],
) -> JobSpec:
    """As `submit`, of the stored manifest of an `earlier` job: nothing is listed again, and nothing is left out."""
    job = messages.new_job_id(name)
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
            left_out=earlier.left_out,
        )
        await _announce(servers, producer, results, spec, lacking)
    return spec


async def _announce(
    servers: str,
    producer: AIOKafkaProducer,
    results: Path,
    spec: JobSpec,
    lacking: Callable[[int, int], str | None],
) -> None:
    """Makes the job known, if there is room for it. If not, and where Kafka is not known to have it, its manifest goes.

    So a spec that comes into Kafka after all is that of a job which the producer fails at once, without an image.
    """
    path = manifest_path(results, spec.job)
    try:
        if (lack := lacking(spec.images, path.stat().st_size)) is not None:
            raise SubmitError(lack)
        try:
            await _write(producer, spec)
        except Retryable as error:
            if not await _is_known(servers, spec.job):
                raise Retryable(f"{error}: no job was made; submit it again") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _is_known(servers: str, job: str) -> bool:
    """Whether Kafka has a job of which no acknowledgement came. Retryable where it does not say."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return job in await status.read_specs(servers)
    except TimeoutError:
        raise Retryable(
            f"Kafka at {servers} does not answer, so it is not known whether it has job {job}; if it has, that job "
            "fails and none of its images is done, since its manifest was removed: submit again once Kafka is back"
        ) from None


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
async def _answer_within(servers: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await producer.stop()


async def _write(producer: AIOKafkaProducer, spec: JobSpec) -> None:
    """Returns once Kafka has the spec. Retryable if it refuses it, or does not answer: the client is of no use then."""
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), key=spec.job.encode())
    except BaseException as error:
        # Else aiokafka sends what it holds when it is stopped, after its user was told that nothing was sent.
        producer._sender.sender_task.cancel()
        await producer.client.close()
        if isinstance(error, KafkaError | TimeoutError):
            raise Retryable(f"Kafka did not take job {spec.job} ({error!r})") from error
        raise
