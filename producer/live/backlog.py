"""How many live images wait for their answer: what is not published yet, and what consumers have not answered."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from producer.live.books import Books
from trapstream.core import kafka, log, metrics, topics
from trapstream.core.messages import Lane

_EVERY = 1.0
_PARTS = [TopicPartition(topics.LIVE.name, number) for number in range(topics.LIVE.partitions)]


class Backlog:
    """Asks Kafka now and then. While it does not answer, the last lag known stands; what is unpublished grows."""

    def __init__(self, servers: str, books: Books) -> None:
        self._servers, self._books = servers, books
        self._lag = 0

    @property
    def images(self) -> int:
        """The newest figure."""
        return self._lag + self._books.unpublished

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
            client = kafka.Consumer(bootstrap_servers=self._servers, group_id=None, enable_auto_commit=False)
            try:
                await admin.start()
                await client.start()
                while True:
                    self._lag = await _lag(admin, client)
                    metrics.LIVE_BACKLOG.set(self.images)
                    await asyncio.sleep(_EVERY)
            except (KafkaError, OSError) as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
            finally:
                await client.stop()
                await admin.close()
            await asyncio.sleep(_EVERY)


async def _lag(admin: AIOKafkaAdminClient, client: kafka.Consumer) -> int:
    """References of the live lane that no consumer has committed."""
    committed = await admin.list_consumer_group_offsets(topics.lane_group(Lane.LIVE), partitions=_PARTS)
    begins, ends = await client.beginning_offsets(_PARTS), await client.end_offsets(_PARTS)
    done = {part: max(committed[part].offset if part in committed else -1, begins[part]) for part in _PARTS}
    return sum(max(0, ends[part] - done[part]) for part in _PARTS)
