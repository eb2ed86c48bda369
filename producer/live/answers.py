"""Answers of live images: the log of results, followed from its end, and looked through for older ones."""

import asyncio
import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from trapstream.core import kafka, messages, retry, topics
from trapstream.core.errors import BadMessage, Retryable
from trapstream.core.messages import TimedHead

Image = tuple[str, int]
"""Job and seq."""

_MOST_KNOWN = 10_000
"""Answers remembered."""
_LOOKS = 2
"""Looks into the past at once: each reads a partition."""
_PARTS = kafka.parts_of(topics.DETECTIONS)


class Answer(NamedTuple):
    """An image's end."""

    entry: bytes
    """The image's entry in the result file: JSON."""
    ms: bytes
    """How long it spent in each stage: StageTimes, in JSON."""


class Answers:
    """The answers of live images as they come. `run` keeps it; `wait` may be called many times at once."""

    def __init__(self, servers: str, wanted: Callable[[str], object]) -> None:
        """`wanted`: whether a job is live; the results of others are passed over unread."""
        self._servers, self._wanted = servers, wanted
        self._known: OrderedDict[Image, Answer] = OrderedDict()
        self._waiting: defaultdict[Image, list[asyncio.Future[Answer]]] = defaultdict(list)
        self._looks = asyncio.Semaphore(_LOOKS)
        self.ready = asyncio.Event()
        """Set once no answer to an image that is published from here on is missed."""

    async def run(self) -> None:
        """Follows the log, until cancelled."""
        consumer = await retry.until_back(self._at_end, "kafka")
        self.ready.set()
        try:
            while True:
                for record in await retry.until_back(lambda: _poll(consumer), "kafka"):
                    self._take(record)
        finally:
            await consumer.stop()

    async def wait(self, image: Image, seconds: float, since: float | None) -> Answer | None:
        """The image's answer, once it is there; None after `seconds`.

        `since`: where the image was there before, and may have been answered long ago: seconds since 1970 from which
        on its answer is looked for.
        """
        if (known := self._known.get(image)) is not None:
            return known
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[image].append(future)
        look = asyncio.create_task(self._look(image, since)) if since is not None else None
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            if look is not None:
                look.cancel()
            self._waiting[image].remove(future)
            if not self._waiting[image]:
                del self._waiting[image]

    def _take(self, record: ConsumerRecord, only: Image | None = None) -> None:
        """Remembers the answer in a record of a live job, or `only` that of one image."""
        job = (record.key or b"").decode(errors="replace")
        if not (self._wanted(job) if only is None else job == only[0]):
            return
        with contextlib.suppress(BadMessage):  # the aggregator parks it
            head = messages.decode(record.value, TimedHead)
            image = head.job, head.seq
            if only is not None and image != only:
                return
            answer = Answer(bytes(head.entry), bytes(head.ms))  # copies, without the message
            first = self._known.setdefault(image, answer)  # the first one counts, here as in the file
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
            for waiting in self._waiting.get(image, ()):
                if not waiting.done():
                    waiting.set_result(first)

    async def _look(self, image: Image, since: float) -> None:
        """Reads the job's partition from `since` on, until the image's first answer."""
        part = TopicPartition(topics.DETECTIONS.name, kafka.job_partition(image[0]))
        async with self._looks:
            with contextlib.suppress(KafkaError, Retryable):  # the sender is told to ask again
                consumer = await kafka.reader(self._servers, [part], fetch_max_wait_ms=kafka.FETCH_WAIT_MS)
                try:
                    begin = (await consumer.offsets_for_times({part: int(since * 1000)}))[part]
                    if begin is None:
                        return
                    consumer.seek(part, begin.offset)
                    end = (await consumer.end_offsets([part]))[part]
                    consumer.resume(part)
                    while image not in self._known and await consumer.position(part) < end:
                        for record in await _poll(consumer):
                            self._take(record, image)
                finally:
                    await consumer.stop()

    async def _at_end(self) -> kafka.Consumer:
        consumer = await kafka.reader(self._servers, _PARTS, fetch_max_wait_ms=kafka.FETCH_WAIT_MS)
        try:
            with kafka.retryable(self._servers):
                await consumer.seek_to_end(*_PARTS)
                for part in _PARTS:
                    await consumer.position(part)  # a seek is made good when the position is asked for
        except BaseException:
            await consumer.stop()
            raise
        consumer.resume(*_PARTS)
        return consumer


async def _poll(consumer: kafka.Consumer) -> list[ConsumerRecord]:
    with kafka.retryable("results"):
        return [record for records in (await consumer.getmany(timeout_ms=200)).values() for record in records]
