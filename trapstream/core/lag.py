"""How far a lane is answered and where topics end: Kafka's own offsets, and what consumers write beside theirs."""

from typing import NamedTuple

from aiokafka import TopicPartition
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


async def answered(admin: AIOKafkaAdminClient, client: kafka.Consumer, lane: Lane) -> dict[int, Answered]:
    """Asks for every partition of the lane. KafkaError if the broker does not answer."""
    parts = _parts(topics.lane_topic(lane))
    committed = await admin.list_consumer_group_offsets(topics.lane_group(lane), partitions=parts)
    begins = await client.beginning_offsets(parts)
    found = {}
    for part in parts:
        offset, metadata = committed.get(part, (-1, ""))
        number = metadata.removeprefix(_ASIDE) if metadata and metadata.startswith(_ASIDE) else ""
        found[part.partition] = Answered(max(offset, begins[part]), int(number) if number.isdecimal() else 0)
    return found


async def ends(client: kafka.Consumer, topic: topics.Topic) -> dict[int, int]:
    """The offset after the last message, by partition. KafkaError if the broker does not answer."""
    return {part.partition: offset for part, offset in (await client.end_offsets(_parts(topic))).items()}


def _parts(topic: topics.Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for number in range(topic.partitions)]
