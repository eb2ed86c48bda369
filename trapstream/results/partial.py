"""A job's file from the log alone: it needs no disk of the aggregator's, and disturbs none."""

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from trapstream.core import kafka, retry, topics
from trapstream.core.messages import Counts, JobSpec, JobStatus
from trapstream.core.result_store import whole_file
from trapstream.results import fold_reader
from trapstream.results.fold import read
from trapstream.results.fold_store import Store
from trapstream.results.write import Sink, write_result


async def partial(servers: str, spec: JobSpec, out: Sink, batch: int = 5_000, cut: int | None = None) -> Counts:
    """Writes the results that a job has now to `out`, in the final format; its account.

    `cut`: the offset from which on results do not count, for a job that was stopped there.

    The job's part of the log is folded into a temporary store on the disk, so memory stays as it is. Waits for a
    broker that is away; Retryable if the temporary folder is full.
    """
    with tempfile.TemporaryDirectory(prefix="trapstream-") as name:
        folder = Path(name)
        with contextlib.closing(Store(folder, durable=False)) as opened:
            await _fold_log(servers, spec, opened, batch, cut)
        return await asyncio.to_thread(_write, folder, spec, out)


async def rebuild(servers: str, spec: JobSpec, ended: JobStatus, path: Path) -> str | None:
    """Makes the file of a job that has ended again, at `path`, if it has the bytes that the job ended with.

    None then; else what is different, in a line, and `path` is as it was. Otherwise as `partial`.
    """
    with contextlib.suppress(_OtherBytes), whole_file(path) as file:
        account = await partial(servers, spec, file, cut=ended.cut)
        if file.sha256 != ended.sha256:
            raise _OtherBytes
        return None
    if account.done != ended.counts.done:
        return f"the log still has {account.done:,} of its {ended.counts.done:,} results"
    return "the log has as many results, but they make other bytes: another version of Trapstream wrote the file"


class _OtherBytes(Exception):
    """Leaves the file at its name as it was."""


async def _fold_log(servers: str, spec: JobSpec, opened: Store, batch: int, cut: int | None) -> None:
    part = TopicPartition(topics.DETECTIONS.name, kafka.job_partition(spec.job))
    fetch_bytes = 4 * 1024 * 1024
    consumer = await retry.until_back(
        lambda: kafka.reader(servers, [part], max_partition_fetch_bytes=fetch_bytes), "kafka"
    )
    try:
        await consumer.seek_to_beginning(part)
        end = (await consumer.end_offsets([part]))[part]
        consumer.resume(part)
        end = end if cut is None else min(end, cut)
        while await consumer.position(part) < end:
            for records in (await consumer.getmany(timeout_ms=200, max_records=batch)).values():
                counting = [record for record in records if record.offset < end]
                if counting:
                    await asyncio.to_thread(_fold, opened, spec.job, counting)
    finally:
        await consumer.stop()


def _fold(opened: Store, job: str, records: Sequence[ConsumerRecord]) -> None:
    name = f'"{job}"'.encode()
    own = [record for record in records if name in (record.value or b"")]
    found = read(own, records[0].partition, opened.jobs, kafka.job_partition)
    opened.fold([result for result in found.results if result.job == job], records[-1].offset + 1)


def _write(folder: Path, spec: JobSpec, out: Sink) -> Counts:
    account = fold_reader.read_account(folder, spec.job, spec.total)
    write_result(spec, account, fold_reader.read_entries(folder, spec.job, spec.total), out)
    return account
