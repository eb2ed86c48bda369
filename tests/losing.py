"""How tests lose messages on purpose."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from trapstream.core import topics
from trapstream.core.messages import Lane


def lanes() -> list[TopicPartition]:
    """All partitions of both lanes."""
    both = [topics.lane_topic(lane) for lane in Lane]
    return [TopicPartition(topic.name, number) for topic in both for number in range(topic.partitions)]


async def lose(servers: str, parts: Sequence[TopicPartition] = ()) -> int:
    """Deletes all references that stand in the lanes, or all messages of `parts`; how many."""
    parts = parts or lanes()
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    begins, ends = await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)
    await consumer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.delete_records({part: RecordsToDelete(before_offset=end) for part, end in ends.items()})
    await admin.close()
    return sum(ends[part] - begins[part] for part in parts)
