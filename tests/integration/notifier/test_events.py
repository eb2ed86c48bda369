"""Streams of events over the real log: none left out, none twice, whoever dies or does not read."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import TopicPartition

from tests.integration.aggregator import harness
from tests.integration.notifier.listener import listening
from tests.integration.outages import free_port
from tests.integration.service import Service, service
from tests.losing import lose
from tests.unit.values import image_result
from tests.waiting import eventually
from trapstream.core import kafka, topics
from trapstream.core.messages import Counts, ImageResult, JobState, JobStatus
from trapstream.local.testing import RunningStack

IMAGES = 600


def status(job: str, state: JobState = JobState.COMPLETED, cut: int | None = None) -> JobStatus:
    """A job's last status."""
    return JobStatus(job=job, state=state, total=IMAGES, counts=Counts(empty=IMAGES), cut=cut)


async def test_a_stream_goes_on_after_a_kill(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """Each image once and in the log's order, though the notifier is killed while they come, and the end at last."""
    await kafka.create_topics(stack.kafka)
    other, port = harness.beside(member), free_port()
    log = harness.shuffled(harness.results(member, IMAGES))
    await harness.send_spec(stack.kafka, harness.sealed(member, IMAGES))
    await harness.send_results(stack.kafka, [*log[:100], *harness.results(other, 50)])
    with service("notifier", tmp_path, stack.kafka, member, events_port=str(port)) as notifier:
        async with listening(port, member) as (listener, over):
            for start in range(100, len(log), 100):
                told = len(listener.images)
                await harness.send_results(stack.kafka, [*log[start : start + 100], *harness.results(other, 20)])
                if start in (200, 500):

                    async def more(than: int = told) -> bool:
                        return len(listener.images) > than

                    await eventually("more events", more, pause=0.001)
                    notifier.kill()
                    notifier.start()
            await harness.send_status(stack.kafka, status(member))
            await asyncio.wait_for(over, 30)
        first = list(dict.fromkeys(f"{member}/{answer.seq}" for answer in log))
        assert len(listener.statuses) >= 3
        # An image that was done twice may come twice, on both sides of a death: the same name tells.
        assert list(dict.fromkeys(listener.images)) == first
        places = [int(event["id"].split(":")[1]) for event in listener.events[:-1]]
        assert places == sorted(set(places))
        assert listener.events[-1]["data"]["state"] == "completed" and listener.events[-1]["id"] == "end"
        async with listening(port, member, last="end") as (again, over):
            await asyncio.wait_for(over, 30)
        assert again.statuses == [204]
        # From the beginning, in one piece: what the killed one told.
        async with listening(port, member) as (whole, over):
            await asyncio.wait_for(over, 30)
        assert whole.images == first
        assert notifier.stop() == 0
