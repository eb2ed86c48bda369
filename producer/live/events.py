"""Notifications of buckets, read from a Kafka topic: each new object becomes a live image."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from producer.live.books import Books, Refused
from producer.live.notices import Outcome, read
from producer.live.series import Arrival
from trapstream.core import kafka, letters, log, metrics, retry
from trapstream.core.errors import BadMessage, Retryable
from trapstream.core.outbox import Outbox
from trapstream.core.settings import ProducerSettings

_GROUP = "producer-bucket-events"
_MOST = 200
"""Notifications taken together."""
_REST_MS = 1000
"""Between two looks at a backlog that is too deep."""


async def run(settings: ProducerSettings, books: Books, outbox: Outbox) -> None:
    """Reads the topic until cancelled. An offset is committed only once the journals have what stands before it."""
    consumer = kafka.group_consumer(settings.kafka, _GROUP, settings.member)
    consumer.subscribe([settings.bucket_topic])
    await kafka.started(consumer)
    try:
        while True:
            try:
                if books.unpublished >= settings.upload_backlog:
                    await _rest(consumer)
                    continue
                for part, records in (await consumer.getmany(timeout_ms=500, max_records=_MOST)).items():
                    await _take(records, settings, books, outbox)
                    await _commit(consumer, part, records[-1].offset + 1)
            except KafkaError as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
                await asyncio.sleep(1.0)
    finally:
        await consumer.stop()


async def _take(records: Sequence[ConsumerRecord], settings: ProducerSettings, books: Books, outbox: Outbox) -> None:
    arrivals: list[Arrival] = []
    for record in records:
        try:
            noticed = read(record.value, settings.bucket_series)
        except BadMessage as error:
            await letters.park(outbox, record, str(error))
            continue
        for each in noticed:
            if each.arrival is not None:
                arrivals.append(each.arrival._replace(arrived=record.timestamp / 1000))
            if each.outcome is not Outcome.CREATED:
                metrics.ARRIVALS.labels("bucket", str(each.outcome)).inc()
    if not arrivals:
        return

    async def place() -> None:
        try:
            for placed in await books.accept(arrivals):
                metrics.ARRIVALS.labels("bucket", "repeated" if placed.repeated else "accepted").inc()
        except Refused as error:
            raise Retryable(str(error)) from error

    await retry.until_back(place, "result store")


async def _rest(consumer: kafka.Consumer) -> None:
    """Reads nothing for a while, since Kafka keeps it well, and stays in the group."""
    held = consumer.assignment()
    consumer.pause(*held)
    await consumer.getmany(timeout_ms=_REST_MS)
    consumer.resume(*(held & consumer.assignment()))


async def _commit(consumer: kafka.Consumer, part: TopicPartition, offset: int) -> None:
    try:
        async with asyncio.timeout(5.0):  # aiokafka would try for ever
            await consumer.commit({part: offset})
    except (KafkaError, TimeoutError) as error:  # it goes to who has it next, who finds its images placed
        log.get_logger().warning("commit put off", topic="bucket events", error=repr(error))
