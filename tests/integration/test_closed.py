"""A connection to Kafka that breaks in the moment of a request, on the event loop that services have."""

import asyncio

import pytest
import uvloop
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from tests.stacks import RunningStack
from trapstream.core import kafka, topics


def test_a_connection_that_just_closed_is_one_that_broke(stack: RunningStack) -> None:
    """Who asks on it is told so in Kafka's own terms, which all wait out; the next request has another connection."""
    part = TopicPartition(topics.DETECTIONS.name, 0)

    async def asked() -> int:
        await kafka.create_topics(stack.kafka)
        client = kafka.Consumer(bootstrap_servers=stack.kafka, group_id=None)
        await client.start()
        try:
            await client.end_offsets([part])
            [connection] = client._client._conns.values()
            connection._writer.transport.abort()
            await asyncio.sleep(0)  # it is closed now, and its reader has not heard of that yet
            with pytest.raises(KafkaConnectionError, match="is closed"):
                connection.send(MetadataRequest([]))
            return int((await client.end_offsets([part]))[part])
        finally:
            await client.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asked()) >= 0
