"""The end of `detections`, followed once for all who listen. A partition without listeners is not even read.

What nobody listens to costs a look at its key: no JSON is parsed here.
"""

import asyncio
from collections import defaultdict, deque

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from notifier.results import Record
from trapstream.core import kafka, log, retry, topics
from trapstream.core.errors import Retryable

MOST_RECORDS = 1_000
"""Results that wait for one listener; with more it is sent to the log, which keeps them better."""
MOST_BYTES = 4_000_000
_TOGETHER = 1_000
_PARTS = [TopicPartition(topics.DETECTIONS.name, number) for number in range(topics.DETECTIONS.partitions)]


class Ear:
    """One listener's bounded queue."""

    def __init__(self, job: str, news: asyncio.Event) -> None:
        """`news`: set when there may be something to look at."""
        self.key = job.encode()
        self.part = kafka.job_partition(job)
        self.records: deque[Record] = deque()
        self._bytes = 0
        self.lost = False
        """It holds too much, or the log jumped: nothing is added until `again`."""
        self.news = news

    def add(self, record: Record) -> None:
        """Takes a record, if there is room."""
        if self.lost:
            return
        self._bytes += len(record.value)
        if len(self.records) >= MOST_RECORDS or self._bytes > MOST_BYTES:
            self.lose()
        else:
            self.records.append(record)
            self.news.set()

    def take(self) -> list[Record]:
        """All that is there."""
        taken = list(self.records)
        self.again()
        return taken

    def lose(self) -> None:
        """Lets go of all that is there: the log has it."""
        self.again()
        self.lost = True
        self.news.set()

    def again(self) -> None:
        """Empty, and taking."""
        self.records.clear()
        self._bytes, self.lost = 0, False


class Tail:
    """Gives each ear the records of its job from when it joined. `run` keeps it."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._consumer: kafka.Consumer
        """From `start` on."""
        self._ears: defaultdict[bytes, set[Ear]] = defaultdict(set)
        self._listeners = [0] * len(_PARTS)
        self._joining = asyncio.Lock()
        self._wanted = asyncio.Event()
        """Set while there is a listener."""
        self.places: dict[int, int] = {}
        """Of the partitions that are read: the offset that is looked at next."""

    async def start(self) -> None:
        """Waits for a broker that is away."""

        async def begin() -> kafka.Consumer:
            # Offsets out of range are told, not mended: whoever listens then reads on from the log.
            consumer = kafka.Consumer(
                bootstrap_servers=self._servers,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_wait_ms=50,  # what a partition that is read anew waits for; results come at once
                max_partition_fetch_bytes=4 * 1024 * 1024,
            )
            try:
                await consumer.start()
            except KafkaError as error:
                await consumer.stop()
                raise Retryable(f"{self._servers}: {error!r}") from error
            consumer.assign(_PARTS)
            consumer.pause(*_PARTS)
            for part in _PARTS:
                consumer.seek(part, 0)  # it is never read there: a place is looked up when somebody comes
            return consumer

        self._consumer = await retry.until_back(begin, "kafka")

    async def run(self) -> None:
        """Follows the log until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                try:
                    batches = await self._consumer.getmany(timeout_ms=200, max_records=_TOGETHER)
                except KafkaError as error:
                    log.get_logger().warning("waiting", on="kafka", error=repr(error))
                    await self._anew()
                    continue
                for part, records in batches.items():
                    self._deal(part.partition, records)
                await asyncio.sleep(0)  # where much is there already, getmany alone would let nobody else run
        finally:
            await self._consumer.stop()

    async def join(self, ear: Ear) -> int:
        """The ear hears all from the offset on that is returned. Waits for a broker that is away."""
        async with self._joining:
            self._listeners[ear.part] += 1
            try:
                if ear.part not in self.places:
                    await self._begin(ear.part)
            except BaseException:
                self._listeners[ear.part] -= 1
                raise
            ear.again()
            self._ears[ear.key].add(ear)
            return self.places[ear.part]

    def leave(self, ear: Ear) -> None:
        """The ear hears nothing any more."""
        self._ears[ear.key].discard(ear)
        if not self._ears[ear.key]:
            del self._ears[ear.key]
        self._listeners[ear.part] -= 1
        if not self._listeners[ear.part]:
            self._consumer.pause(_PARTS[ear.part])
            del self.places[ear.part]
            if not self.places:
                self._wanted.clear()

    def wake(self, job: str) -> None:
        """Has all who listen to a job look around: it has ended."""
        for ear in self._ears.get(job.encode(), ()):
            ear.news.set()

    def wake_all(self) -> None:
        """As `wake`, for every job: the process stops."""
        for ears in self._ears.values():
            for ear in ears:
                ear.news.set()

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

    async def _begin(self, partition: int) -> None:
        part = _PARTS[partition]
        end = await self.end(partition)
        if self._listeners[partition]:  # none may be left by now
            self._consumer.seek(part, end)
            self._consumer.resume(part)
            self.places[partition] = end
            self._wanted.set()

    async def _anew(self) -> None:
        """After an offset that the log does not have: from its end; whoever listens looks for what is between."""
        async with self._joining:
            for partition in list(self.places):
                await self._begin(partition)
                self._lose(partition)

    def _deal(self, partition: int, records: list[ConsumerRecord]) -> None:
        place = self.places.get(partition)
        if place is None or not records or records[-1].offset < place:
            return  # of before a seek
        if records[0].offset > place:
            self._lose(partition)
        self.places[partition] = records[-1].offset + 1
        ears = self._ears
        for record in records:
            if record.key in ears and record.offset >= place:
                made = Record(record.offset, record.timestamp / 1000, record.value or b"")
                for ear in ears[record.key]:
                    ear.add(made)

    def _lose(self, partition: int) -> None:
        for ears in self._ears.values():
            for ear in ears:
                if ear.part == partition:
                    ear.lose()
