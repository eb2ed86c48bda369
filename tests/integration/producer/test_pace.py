"""Paced publishing on the real Kafka: consumers played by a client that commits, as far as a test lets it."""

import asyncio
import contextlib
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.integration.outages import free_port
from tests.integration.producer.helpers import clean_lanes, make_job, published, sealed, spec_when
from tests.integration.service import Service, service
from tests.losing import lose
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka, topics
from trapstream.core.messages import Lane
from trapstream.jobs import submit

LEAST = 200
PARTS = [TopicPartition(topics.BULK.name, number) for number in range(topics.BULK.partitions)]


class Takers:
    """The bulk lane's consumers: a member of their group that answers nothing and commits what it is told."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client
        self.taken = 0

    async def take(self, most: int) -> None:
        """Takes as many references as there are, `most` together, and commits them."""
        ends = await self._client.end_offsets(PARTS)
        offsets = {}
        for part in PARTS:
            begin = max(await self._client.committed(part) or 0, (await self._client.beginning_offsets([part]))[part])
            count = min(ends[part] - begin, most)
            most -= count
            self.taken += count
            offsets[part] = begin + count
        await self._client.commit(offsets)

    async def run(self, every: float) -> None:
        """Takes all there is, again and again, until cancelled."""
        while True:
            with contextlib.suppress(KafkaError):
                await self.take(1_000_000)
            await asyncio.sleep(every)


@pytest.fixture
async def servers(stack: RunningStack) -> AsyncIterator[str]:
    async with clean_lanes(stack.kafka):
        await lose(stack.kafka)
        yield stack.kafka


@pytest.fixture
async def takers(servers: str) -> AsyncIterator[Takers]:
    client = await kafka.group_consumer(servers, topics.lane_group(Lane.BULK), "consumer-0", topics.BULK.name)
    try:
        await eventually("the partitions", lambda: _all_of(client))
        yield Takers(client)
    finally:
        await client.stop()


async def _all_of(client: AIOKafkaConsumer) -> bool:
    return set(client.assignment()) == set(PARTS)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def producer(stack: RunningStack, tmp_path: Path, port: int) -> Iterator[Service]:
    with service(
        "producer", tmp_path, stack.kafka, "0", start=False, publish_ahead=str(LEAST), http_port=str(port)
    ) as process:
        yield process


async def full(port: int) -> None:
    """Waits until the producer has looked at a backlog that has reached its bound."""

    async def look() -> bool:
        return await asyncio.to_thread(metric, port, "trapstream_backlog") == LEAST

    await eventually("a full backlog", look)


def metric(port: int, name: str) -> float:
    """A metric of the bulk lane; -1 while the service does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            found = re.search(rf'^{name}{{lane="bulk"}} (\S+)$', answer.read().decode(), re.MULTILINE)
    except OSError:
        return -1.0
    return float(found[1]) if found else -1.0


async def test_the_backlog_is_bounded_and_shared(
    servers: str, tmp_path: Path, producer: Service, port: int, takers: Takers
) -> None:
    """With consumers away few references wait, also after a kill. A small job behind a large one is published whole
    while that gets as many; the large one's cancellation leaves no more than what waits."""
    producer.start()
    large = await make_job(servers, tmp_path, 50_000)
    await full(port)
    assert len(await published(servers, large.job)) == LEAST
    producer.kill()
    producer.start()
    await full(port)
    assert len(await published(servers, large.job)) == LEAST, "a kill repeats nothing that the cursor knew"
    small = await make_job(servers, tmp_path, 100)
    await producer.says(f'"job": "{small.job}"')

    async def is_sealed() -> bool:
        await takers.take(20)
        return sealed(await spec_when(servers, small.job, lambda _: True))

    await eventually("the small job's seal", is_sealed, pause=0.3)
    assert takers.taken <= LEAST + 2 * 100 + 200
    assert len(await published(servers, large.job)) <= takers.taken + LEAST + 20
    await submit.cancel(servers, large.job)
    after = await make_job(servers, tmp_path, 10)

    async def is_empty() -> bool:
        await takers.take(1_000)
        return sealed(await spec_when(servers, after.job, lambda _: True))

    await eventually("the next job's seal", is_empty)
    assert len(await published(servers, large.job)) <= takers.taken


async def test_fast_consumers_do_not_wait(servers: str, tmp_path: Path, producer: Service, takers: Takers) -> None:
    """Consumers that take whatever there is get 100,000 references within seconds: the bound grows with them."""
    producer.start()
    spec = await make_job(servers, tmp_path, 100_000)
    taking = asyncio.create_task(takers.run(0.1))
    try:
        assert (await spec_when(servers, spec.job, sealed)).total == 100_000
    finally:
        taking.cancel()
