"""How far the lanes are read and the log of results has come: Kafka's own figures, asked once."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from aggregator.lost import Figures, Offsets
from trapstream.core import topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import Lane


async def figures(servers: str) -> Figures:
    """Asks Kafka. Retryable if it does not answer."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    client = AIOKafkaConsumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False)
    try:
        await admin.start()
        await client.start()
        read = {lane: await _read(admin, client, lane) for lane in Lane}
        results = _by_number(await client.end_offsets(_parts(topics.DETECTIONS)))
        ends = {lane: _by_number(await client.end_offsets(_parts(topics.lane_topic(lane)))) for lane in Lane}
    except (KafkaError, OSError) as error:
        raise Retryable(f"{servers}: {error!r}") from error
    finally:
        await client.stop()
        await admin.close()
    return Figures(read=read, results=results, ends=ends)


async def _read(admin: AIOKafkaAdminClient, client: AIOKafkaConsumer, lane: Lane) -> Offsets:
    parts = _parts(topics.lane_topic(lane))
    committed = await admin.list_consumer_group_offsets(topics.lane_group(lane), partitions=parts)
    begins = await client.beginning_offsets(parts)
    return {part.partition: max(committed[part].offset if part in committed else -1, begins[part]) for part in parts}


def _parts(topic: topics.Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for number in range(topic.partitions)]


def _by_number(offsets: Mapping[TopicPartition, int]) -> Offsets:
    return {part.partition: offset for part, offset in offsets.items()}
