"""`python -m consumer`: the consumer from start to stop. Its Kafka client, its jobs, and the pipeline between them."""

import asyncio
import sys

from consumer.pipeline import Pipeline
from trapstream.core import kafka, service
from trapstream.core.jobs import JobTable
from trapstream.core.outbox import Outbox
from trapstream.core.service import Health
from trapstream.core.settings import ConsumerSettings


async def run(settings: ConsumerSettings, stop: asyncio.Event, health: Health) -> None:
    """Works until `stop` is set and the work in flight is done."""
    await kafka.create_topics(settings.kafka)
    jobs = JobTable(settings.kafka)
    async with Outbox(settings.kafka) as producer, asyncio.TaskGroup() as tables:
        following = tables.create_task(jobs.run())
        await jobs.caught_up.wait()
        await Pipeline(settings, producer, jobs, health.meters).run(stop, health)
        following.cancel()


if __name__ == "__main__":
    sys.exit(service.run("consumer", ConsumerSettings, run))
