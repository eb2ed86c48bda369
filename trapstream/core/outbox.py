"""What a service sends to Kafka by, for as long as it lives, whatever becomes of the client."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from trapstream.core import kafka, log, retry
from trapstream.core.errors import Retryable

_STOP_SECONDS = 5.0
_NEVER = object()


class Outbox:
    """A producer that goes on after its client cannot: that is stopped, and another one takes its place. A context.

    After a batch that failed for good, which an outage of more than a minute may bring, the numbering of an
    idempotent client has a gap, and whatever it sends then is refused.
    """

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._client: AIOKafkaProducer = None  # until it is started
        self._broken: AIOKafkaProducer = _NEVER
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Waits for a broker that is away."""
        self._client = await kafka.start_producer(self._servers)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Sends the messages that are left, for a few seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._client.stop()

    async def send(self, topic: str, value: bytes, key: bytes | None = None) -> asyncio.Future[object]:
        """Queues a message; the future is done once it is acknowledged, or a KafkaError: then send it again."""
        client = await self._working()
        try:
            queued: asyncio.Future[object] = await client.send(topic, value, key)
        except KafkaError:
            self._broken = client
            raise
        queued.add_done_callback(lambda answer: self._look(client, answer))
        return queued

    async def send_batch(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes]]
    ) -> list[asyncio.Future[object]]:
        """Queues (key, value) records of one partition, in their order, to go at once.

        The futures are done once all are acknowledged, or a KafkaError: then send them again. aiokafka's `send` makes a
        future and a look at its tables for each record, which costs several times what the record itself does.
        """
        client = await self._working()
        queued: list[asyncio.Future[object]] = []
        batch = client.create_batch()

        async def queue() -> None:
            batch.close()  # a batch that is open waits for more
            answer: asyncio.Future[object] = await client.send_batch(batch, topic, partition=partition)
            answer.add_done_callback(lambda answer: self._look(client, answer))
            queued.append(answer)

        try:
            for key, value in records:
                if batch.append(key=key, value=value, timestamp=None) is None:
                    await queue()
                    batch = client.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
            await queue()
        except KafkaError:
            self._broken = client
            raise
        return queued

    async def _working(self) -> AIOKafkaProducer:
        """The client; in place of one that is broken another one, which whoever comes first starts."""
        if self._broken is self._client:
            async with self._renewing:
                if self._broken is self._client:
                    log.get_logger().warning("another client for kafka", servers=self._servers)
                    with contextlib.suppress(TimeoutError, KafkaError):
                        async with asyncio.timeout(_STOP_SECONDS):
                            await self._broken.stop()
                    self._client = await kafka.start_producer(self._servers)
        return self._client

    async def deliver(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Returns once the message is acknowledged, however long Kafka is away."""

        async def send() -> None:
            with kafka.retryable(self._servers):
                await (await self.send(topic, value, key))

        await retry.until_back(send, "kafka")

    def _look(self, client: AIOKafkaProducer, answer: asyncio.Future[object]) -> None:
        if not answer.cancelled() and isinstance(answer.exception(), KafkaError):
            self._broken = client

    async def watch(self, every: float = 3.0, seconds: float = 5.0) -> None:
        """Says by log and metric that Kafka is away, also while nobody sends: for ever, until cancelled."""

        async def ask() -> None:
            there = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    there = await self._client.client.force_metadata_update()
            if not there:
                raise Retryable(f"{self._servers} does not answer")

        while True:
            await retry.until_back(ask, "kafka")
            await asyncio.sleep(every)
