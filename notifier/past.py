"""The past of `detections`: one job's results from an offset on, a piece at a time, by few clients for all callers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notifier.event_format import Record
from trapstream.core import kafka, retry, topics
from trapstream.core.errors import Retryable

_CLIENTS = 4
_POLL_RECORDS = 2_000
_MOST_RECORDS, _MOST_BYTES = 500, 4_000_000
"""Of a piece: no caller holds a client while its results go out."""
_READ_SECONDS = 0.5
"""The longest look at records of other jobs before the caller may look around."""
_SKEW_SECONDS = 600.0
"""Clocks of different machines may differ by so much."""


class Piece(NamedTuple):
    """Some of a job's results."""

    records: list[Record]
    end: int
    """The offset at which the next piece begins."""
    log_begin: int | None = None
    """Where the log begins, if it does not have the offset asked for any more."""


class Past:
    """Reads the log. Each call waits for a broker that is away, and for one of the clients."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._free = asyncio.Semaphore(_CLIENTS)
        self._idle: list[kafka.Consumer] = []

    async def read(self, job: str, start: int, stop: int) -> Piece:
        """The job's results from offset `start` up to `stop`, or the first of them."""
        return await retry.until_back(lambda: self._read(job, start, stop), "kafka")

    async def offset_at(self, job: str, moment: float) -> int:
        """The offset from which on results of `moment` (seconds since 1970) and later stand, or an earlier one."""
        return await retry.until_back(lambda: self._offset_at(job, moment), "kafka")

    async def close(self) -> None:
        """Closes the clients."""
        while self._idle:
            await self._idle.pop().stop()

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[kafka.Consumer]:
        """A client for this caller alone; one that failed is not used again. Retryable."""
        async with self._free:
            client = self._idle.pop() if self._idle else await open_client(self._servers, "earliest")
            try:
                yield client
            except BaseException as error:
                await client.stop()
                if isinstance(error, KafkaError):
                    raise Retryable(f"{self._servers}: {error!r}") from error
                raise
            self._idle.append(client)

    async def _offset_at(self, job: str, moment: float) -> int:
        part = TopicPartition(topics.DETECTIONS.name, kafka.job_partition(job))
        async with self._client() as client:
            # The end first: what comes between two questions must not be passed over.
            end: int = (await client.end_offsets([part]))[part]
            found = (await client.offsets_for_times({part: max(0, int((moment - _SKEW_SECONDS) * 1000))}))[part]
            return end if found is None else int(found.offset)

    async def _read(self, job: str, start: int, stop: int) -> Piece:
        part, key = TopicPartition(topics.DETECTIONS.name, kafka.job_partition(job)), job.encode()
        records: list[Record] = []
        size, until = 0, time.monotonic() + _READ_SECONDS
        async with self._client() as client:
            log_begin: int = (await client.beginning_offsets([part]))[part]
            if start < log_begin:
                return Piece([], log_begin, log_begin)
            stop = min(stop, (await client.end_offsets([part]))[part])
            client.assign([part])
            client.seek(part, start)
            offset = start
            while offset < stop and len(records) < _MOST_RECORDS and size < _MOST_BYTES and time.monotonic() < until:
                for record in (await client.getmany(timeout_ms=200, max_records=_POLL_RECORDS)).get(part, ()):
                    if record.offset >= stop or len(records) >= _MOST_RECORDS or size >= _MOST_BYTES:
                        break
                    offset = record.offset + 1
                    if record.key == key:
                        records.append(Record(record.offset, record.timestamp / 1000, record.value or b""))
                        size += len(record.value or b"")
                else:
                    offset = max(offset, await client.position(part))
                await asyncio.sleep(0)
        return Piece(records, offset)


async def open_client(servers: str, offset_reset: str) -> kafka.Consumer:
    """A started consumer without a group, which commits nothing. Retryable."""
    client = kafka.Consumer(
        bootstrap_servers=servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset=offset_reset,
        fetch_max_wait_ms=50,  # what a partition that is read anew waits for; new results come at once
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        await client.start()
    except BaseException as error:
        await client.stop()
        if isinstance(error, KafkaError):
            raise Retryable(f"{servers}: {error!r}") from error
        raise
    return client
