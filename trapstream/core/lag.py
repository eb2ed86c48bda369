"""How far a lane is answered and where topics end: Kafka's own offsets, and what consumers write beside theirs."""

import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from trapstream.core import kafka, topics
from trapstream.core.messages import Lane

_ASIDE = "aside="


class Answered(NamedTuple):
    """How far one partition of a lane is."""

    offset: int
    """All references below it have an acknowledged answer, or are gone from the log."""
    aside: int
    """References at or above it that keep no consumer busy: answered already, or waiting for a host that is away."""


def aside_metadata(aside: int) -> str:
    """The metadata that a consumer commits with its offset: one image that waits for days must not make those behind it
    look unanswered."""
    return f"{_ASIDE}{aside}"


class Lag(NamedTuple):
    """The two clients that are asked, since neither knows all of it."""

    admin: AIOKafkaAdminClient
    client: kafka.Consumer

    async def answered(self, lane: Lane) -> dict[int, Answered]:
        """How far every partition of the lane is. KafkaError if the broker does not answer."""
        parts = kafka.parts_of(topics.lane_topic(lane))
        committed = await self.admin.list_consumer_group_offsets(topics.lane_group(lane), partitions=parts)
        begins = await self.client.beginning_offsets(parts)
        found = {}
        for part in parts:
            offset, metadata = committed.get(part, (-1, ""))
            number = metadata.removeprefix(_ASIDE) if metadata and metadata.startswith(_ASIDE) else ""
            found[part.partition] = Answered(max(offset, begins[part]), int(number) if number.isdecimal() else 0)
        return found

    async def ends(self, topic: topics.Topic) -> dict[int, int]:
        """The offset after the last message, by partition. KafkaError if the broker does not answer."""
        ends = await self.client.end_offsets(kafka.parts_of(topic))
        return {part.partition: offset for part, offset in ends.items()}


@contextlib.asynccontextmanager
async def connected(servers: str) -> AsyncIterator[Lag]:
    """Someone to ask. Retryable for an error of Kafka, also one that is met inside."""
    async with kafka.admin_client(servers) as admin:
        client = await kafka.reader(servers)
        try:
            yield Lag(admin, client)
        finally:
            await client.stop()
