"""The end of `detections`, followed once for all subscriptions. A partition without subscriptions is not even read.

A record without a subscription costs one look at its key: no JSON is parsed here.
"""

import asyncio
from collections import defaultdict

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from notifier.event_format import Record
from notifier.past import Past, open_client
from trapstream.core import kafka, log, retry, topics
from trapstream.core.errors import Retryable

MOST_RECORDS = 1_000
"""Results that wait in one subscription; with more it reads them from the log, which keeps them better."""
MOST_BYTES = 4_000_000
_POLL_RECORDS = 1_000
_PARTS = [TopicPartition(topics.DETECTIONS.name, number) for number in range(topics.DETECTIONS.partitions)]


class Subscription:
    """One job's results from an offset on and for ever: from the log while they are old, then as they come.

    The queue of new results is bounded. A subscriber that falls behind loses its queue and no result: it reads the log
    again, from its own offset.
    """

    def __init__(self, tail: "Tail", past: Past, job: str, offset: int | None, news: asyncio.Event) -> None:
        """`offset`: to begin at; None: the end of the log. `news`: set when there may be something to read."""
        self._tail, self._past, self._job, self._start = tail, past, job, offset
        self.key, self.partition, self.news = job.encode(), kafka.job_partition(job), news
        self.offset = 0
        """All results before it were read."""
        self.queue_begin = 0
        """Results before it are read from the log; those from it on come into the queue."""
        self.gap: str | None = None
        """Why results may be missing before the next ones; the reader that reports it clears it."""
        self.queue: list[Record] = []
        self._bytes = 0
        self.dropped = False
        """The queue was dropped. Nothing is added to it until the next read."""

    async def open(self) -> None:
        """Begins. Waits for a broker that is away."""
        self.queue_begin = await self._tail.join(self)
        self.offset = self.queue_begin if self._start is None else self._start
        self._check_offset()

    def close(self) -> None:
        """Ends it."""
        self._tail.leave(self)

    @property
    def behind(self) -> bool:
        """Whether results may stand in the log that are not read yet."""
        return self.offset < self.queue_begin

    @property
    def idle(self) -> bool:
        """Whether there is nothing to read just now."""
        return not (self.behind or self.queue or self.dropped)

    async def read(self) -> list[Record]:
        """The next results that are there, or the first of them."""
        if self.behind:
            piece = await self._past.read(self._job, self.offset, self.queue_begin)
            if piece.log_begin is not None:
                self.gap = f"results before offset {piece.log_begin} are no longer kept"
            self.offset = piece.end
            return piece.records
        records, dropped = self.queue, self.dropped
        self.queue, self._bytes, self.dropped = [], 0, False
        self.queue_begin = self._tail.offsets[self.partition]
        if dropped:
            self._check_offset()
        else:
            self.offset = self.queue_begin
        return records

    def add(self, record: Record) -> None:
        """Adds a new record to the queue, unless the queue is full."""
        if self.dropped:
            return
        self._bytes += len(record.value)
        if len(self.queue) >= MOST_RECORDS or self._bytes > MOST_BYTES:
            self.drop()
        else:
            self.queue.append(record)
            self.news.set()

    def drop(self) -> None:
        """Drops the queue: the log has its records."""
        self.queue, self._bytes, self.dropped = [], 0, True
        self.news.set()

    def _check_offset(self) -> None:
        if self.offset > self.queue_begin:
            self.gap = f"the log ends before offset {self.offset}: Kafka has lost results"
            self.offset = self.queue_begin


class Tail:
    """Gives each subscription the new records of its job. `run` keeps it."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._consumer: kafka.Consumer
        """From `start` on."""
        self._subscriptions: list[defaultdict[bytes, set[Subscription]]] = [defaultdict(set) for _ in _PARTS]
        """Of each partition, by the key of their job."""
        self._joining = asyncio.Lock()
        self._wanted = asyncio.Event()
        """Set while a partition is read."""
        self.offsets: dict[int, int] = {}
        """Of the partitions that are read: the offset that is read next."""

    async def start(self) -> None:
        """Waits for a broker that is away."""
        # Offsets out of range are an error, and not mended silently: subscribers then read on from the log.
        self._consumer = await retry.until_back(lambda: open_client(self._servers, "none"), "kafka")
        self._consumer.assign(_PARTS)
        self._consumer.pause(*_PARTS)
        for part in _PARTS:
            self._consumer.seek(part, 0)  # it is never read there: the first subscription looks up the end

    async def run(self) -> None:
        """Follows the log until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                try:
                    batches = await self._consumer.getmany(timeout_ms=200, max_records=_POLL_RECORDS)
                except KafkaError as error:
                    log.get_logger().warning("waiting", on="kafka", error=repr(error))
                    await self._restart_at_end()
                    continue
                for part, records in batches.items():
                    self._distribute(part.partition, records)
                await asyncio.sleep(0)  # with many records at hand getmany alone would let no other task run
        finally:
            await self._consumer.stop()

    async def join(self, subscription: Subscription) -> int:
        """The subscription gets all records from the returned offset on. Waits for a broker that is away."""
        async with self._joining:
            self._subscriptions[subscription.partition][subscription.key].add(subscription)
            try:
                if subscription.partition not in self.offsets:
                    await self._seek_to_end(subscription.partition)
            except BaseException:
                self.leave(subscription)
                raise
            return self.offsets[subscription.partition]

    def leave(self, subscription: Subscription) -> None:
        """The subscription gets no more records."""
        subscriptions = self._subscriptions[subscription.partition]
        subscriptions[subscription.key].discard(subscription)
        if not subscriptions[subscription.key]:
            del subscriptions[subscription.key]
        if not subscriptions:
            self._consumer.pause(_PARTS[subscription.partition])
            self.offsets.pop(subscription.partition, None)
            if not self.offsets:
                self._wanted.clear()

    async def end(self, partition: int) -> int:
        """The offset after the last record of a partition. Waits for a broker that is away."""
        part = _PARTS[partition]

        async def ask() -> int:
            try:
                offsets: dict[TopicPartition, int] = await self._consumer.end_offsets([part])
            except KafkaError as error:
                raise Retryable(f"{self._servers}: {error!r}") from error
            return offsets[part]

        return await retry.until_back(ask, "kafka")

    async def _seek_to_end(self, partition: int) -> None:
        end = await self.end(partition)
        if self._subscriptions[partition]:  # none may be left by now
            self._consumer.seek(_PARTS[partition], end)
            self._consumer.resume(_PARTS[partition])
            self.offsets[partition] = end
            self._wanted.set()

    async def _restart_at_end(self) -> None:
        """After an offset that the log does not have. Subscribers read what stands before the end from the log."""
        async with self._joining:
            for partition in list(self.offsets):
                await self._seek_to_end(partition)
                self._drop_queues(partition)

    def _distribute(self, partition: int, records: list[ConsumerRecord]) -> None:
        offset = self.offsets.get(partition)
        if offset is None or not records or records[-1].offset < offset:
            return  # they were asked for before a seek
        if records[0].offset > offset:
            self._drop_queues(partition)
        self.offsets[partition] = records[-1].offset + 1
        subscriptions = self._subscriptions[partition]
        for record in records:
            if record.key in subscriptions and record.offset >= offset:
                new = Record(record.offset, record.timestamp / 1000, record.value or b"")
                for subscription in subscriptions[record.key]:
                    subscription.add(new)

    def _drop_queues(self, partition: int) -> None:
        for same_job in self._subscriptions[partition].values():
            for subscription in same_job:
                subscription.drop()
