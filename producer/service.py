"""The producer as a service: it follows `jobs`, publishes those that are open, and drains when it stops."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from producer.live import service as live_service
from producer.publish import Sender
from producer.scheduler import PublishScheduler
from trapstream.core import kafka, log, messages, topics
from trapstream.core.errors import BadMessage
from trapstream.core.messages import JobSpec
from trapstream.core.outbox import Outbox
from trapstream.core.service import Health
from trapstream.core.settings import ProducerSettings

_GROUP = "producer"


async def main(settings: ProducerSettings, stop: asyncio.Event, health: Health) -> None:
    """Publishes until `stop` is set; then ends each job at a chunk, with its cursor written."""
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_work(settings, stop, started, health))
        live = group.create_task(live_service.run(settings, stop, health))
        stopped = group.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        # A Kafka that is away holds up neither a start nor a drain for ever.
        await asyncio.wait({work, live}, timeout=settings.drain_seconds if started.is_set() else 0)
        work.cancel()
        live.cancel()
        stopped.cancel()


async def _work(settings: ProducerSettings, stop: asyncio.Event, started: asyncio.Event, health: Health) -> None:
    await kafka.create_topics(settings.kafka)
    async with Outbox(settings.kafka) as outbox, asyncio.TaskGroup() as group:
        started.set()
        scheduler = PublishScheduler(settings, Sender(outbox), group, stop, health.meters.stage("publish"))
        background = [group.create_task(body) for body in (health.meters.watch(), scheduler.pace.run(), outbox.watch())]
        await _follow(settings, scheduler, stop, health)
        for task in background:
            task.cancel()


class _Partitions(kafka.Listener):
    """Learns which partitions of `jobs` are this producer's."""

    def __init__(self, scheduler: PublishScheduler) -> None:
        self._scheduler = scheduler
        self.fresh = False
        """An assignment came and its log is not read yet."""

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        await self._scheduler.release(part.partition for part in revoked)

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        self.fresh = True
        self._scheduler.pace.share = len(assigned) / topics.JOBS.partitions
        log.get_logger().info("assigned", partitions=sorted(part.partition for part in assigned))


async def _follow(settings: ProducerSettings, scheduler: PublishScheduler, stop: asyncio.Event, health: Health) -> None:
    partitions = _Partitions(scheduler)
    consumer = await kafka.group_consumer(
        settings.kafka, _GROUP, settings.member, topics.JOBS.name, partitions, kafka.FETCH_WAIT_MS
    )
    ends: dict[TopicPartition, int] = {}
    try:
        while not stop.is_set():
            try:
                if partitions.fresh:
                    # No offsets are committed: every assignment reads its jobs from the beginning.
                    partitions.fresh, health.ready = False, False
                    mine, ends = consumer.assignment(), {}
                    if mine:  # with more producers than partitions some have none
                        await consumer.seek_to_beginning(*mine)
                        ends = await consumer.end_offsets(mine)
                for part, records in (await consumer.getmany(timeout_ms=200)).items():
                    for record in records:
                        _update(scheduler, part.partition, record)
                # An open spec may be followed by its seal: nothing starts before the log is read.
                if not partitions.fresh and all([await consumer.position(part) >= end for part, end in ends.items()]):
                    scheduler.start()
                    health.ready = True
            except KafkaError as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
                await asyncio.sleep(0.2)
        # Before leaving the group: no other producer may begin with these jobs meanwhile.
        await scheduler.drain()
    finally:
        await consumer.stop()


def _update(scheduler: PublishScheduler, partition: int, record: ConsumerRecord) -> None:
    if record.value is None:  # a tombstone: the job's retention is over
        scheduler.forget(partition, (record.key or b"").decode(errors="replace"))
        return
    try:
        scheduler.update(partition, messages.decode(record.value, JobSpec))
    except BadMessage as error:
        log.get_logger().error("bad job", key=record.key, error=str(error))
