"""The `jobs` and `job-status` topics, read: each job's newest spec and status, and each change of them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

from trapstream.core import kafka, log, messages, topics
from trapstream.core.errors import BadMessage
from trapstream.core.messages import Counts, JobSpec, JobState, JobStatus
from trapstream.core.states import ENDED, expected

M = TypeVar("M", JobSpec, JobStatus)


async def read_specs(servers: str) -> dict[str, JobSpec]:
    """Every job that the `jobs` topic knows."""
    return {spec.job: spec for spec in await _read(servers, topics.JOBS, JobSpec)}


async def read_all(servers: str) -> dict[str, JobStatus]:
    """Every job's newest status. A job that the aggregator has not spoken of yet is open, or as its spec says."""
    known = {job: _first_status(spec) for job, spec in (await read_specs(servers)).items()}
    known.update({status.job: status for status in await _read(servers, topics.STATUS, JobStatus)})
    return known


async def watch(servers: str, job: str) -> AsyncGenerator[JobStatus, None]:
    """The job's statuses: the newest known first, then each new one, to its last. Close it if you leave before that."""
    async with contextlib.aclosing(changes(servers, topics.STATUS, JobStatus)) as batches:
        async for batch in batches:
            newest = [status for name, status in batch if name == job and status is not None]
            if newest:
                yield newest[-1]
                if newest[-1].state in ENDED:
                    return


async def end(servers: str, job: str) -> JobStatus:
    """The job's last status: waits until it has ended."""
    return [status async for status in watch(servers, job)][-1]


async def changes(
    servers: str, topic: topics.Topic, kind: type[M], caught_up: asyncio.Event | None = None
) -> AsyncGenerator[list[tuple[str, M | None]], None]:
    """The values of one of the topics from its beginning, by job, in batches, for ever; `caught_up` as of `follow`.

    None for a job whose retention is over. A value that cannot be read is left out, and the log says so.
    """
    async with contextlib.aclosing(kafka.follow(servers, topic, caught_up)) as batches:
        async for records in batches:
            batch: list[tuple[str, M | None]] = []
            for record in records:
                message = None if record.value is None else _decoded(record.value, kind)
                if record.value is None or message is not None:
                    batch.append(((record.key or b"").decode(errors="replace"), message))
            yield batch


async def _read(servers: str, topic: topics.Topic, kind: type[M]) -> list[M]:
    values = (await kafka.read_table(servers, topic)).values()
    return [found for value in values if (found := _decoded(value, kind)) is not None]


def _decoded(value: bytes, kind: type[M]) -> M | None:
    try:
        return messages.decode(value, kind)
    except BadMessage as error:
        log.get_logger().error("unreadable", kind=kind.__name__, error=str(error))
        return None


def _first_status(spec: JobSpec) -> JobStatus:
    state = JobState.FAILED if spec.failed else JobState.SEALED if spec.total is not None else JobState.OPEN
    return JobStatus(
        job=spec.job, state=state, total=spec.total, images=expected(spec), counts=Counts(), message=spec.failed
    )
