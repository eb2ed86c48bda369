"""What Kafka keeps: old messages really go from a small broker, and what is kept is bounded."""

import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.integration import outages
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka, topics
from trapstream.local.broker import PARTITION_BYTES

HOUR_MS = 3_600_000
OFTEN = "log.retention.check.interval.ms=500\nlog.initial.task.delay.ms=500\nlog.segment.delete.delay.ms=100\n"


async def test_old_messages_go(tmp_path: Path) -> None:
    """Of little traffic, what is older than the retention goes, though the segment's last message is younger."""
    part = TopicPartition(topics.LIVE.name, 0)
    old = int(time.time() * 1000) - topics.LIVE.retention_ms - HOUR_MS
    async with outages.broker(tmp_path / "broker", OFTEN) as (_, servers):
        await kafka.create_topics(servers)
        producer = await kafka.start_producer(servers)
        for number in range(3):
            stamp = old + number * 2 * topics.DAY_MS
            await producer.send_and_wait(part.topic, b"x", partition=part.partition, timestamp_ms=stamp)
        await producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=servers)
        await consumer.start()

        async def gone() -> bool:
            return bool((await consumer.beginning_offsets([part]))[part] == 1)

        await eventually("the end of the oldest message", gone)
        assert (await consumer.end_offsets([part]))[part] == 3
        await consumer.stop()


@pytest.mark.parametrize("topic", topics.TOPICS, ids=lambda topic: topic.name)
async def test_what_is_kept_is_bounded(stack: RunningStack, topic: topics.Topic) -> None:
    """The broker has each topic's retention as the table says, and on the local stack a bound on its bytes."""
    await kafka.create_topics(stack.kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name)])
    await admin.close()
    (resource,) = answer.resources
    found = {entry[0]: entry[1] for entry in resource[4]}
    assert topic.config().items() <= found.items()
    assert found["retention.bytes"] == str(PARTITION_BYTES)
    assert topic.segment_ms * 5 <= topic.retention_ms
