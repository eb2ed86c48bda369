"""Kafka and Triton away, on the real things: work pauses and says so, no image fails, and it goes on by itself."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import tritonclient.grpc.aio as triton_client
from aiokafka import TopicPartition

from producer import cursor
from tests import graphs
from tests.integration import outages
from tests.integration.aggregator.harness import expected
from tests.integration.outages import Server
from tests.integration.producer.helpers import clean_lanes, published, sealed, spec_when
from tests.integration.service import Service, service
from tests.stacks import RunningStack
from tests.waiting import wait_for
from trapstream.core import kafka as core_kafka
from trapstream.core import topics
from trapstream.core.messages import Lane, Outcome
from trapstream.core.result_store import result_path
from trapstream.core.triton_names import triton_name
from trapstream.jobs import submit
from trapstream.local import ports
from trapstream.local import triton as local_triton
from trapstream.local.instances import InstanceWatch
from trapstream.models import repository_entry

MODEL = "steady"
ENTRY = triton_name(MODEL, "1")
COUNT = 400
"""Images before an outage, and as many during it."""
IMAGES = 1_500
"""Of a job that is published while it is done."""

pytestmark = pytest.mark.timeout(90 + 3 * outages.SECONDS)


@pytest.fixture(autouse=True)
async def own_lanes(stack: RunningStack) -> None:
    """What other tests left unread on the shared broker is deleted: it wants a model that this Triton has not."""
    async with clean_lanes(stack.kafka):
        pass


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    """A Kafka of this test's own, and its address: nobody starts it again but the test."""
    async with outages.broker(tmp_path / "broker") as made:
        yield made


@pytest.fixture
async def triton(tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    """A Triton of this test's own with the tiny model, and its address."""
    home = tmp_path / "triton home"
    repository = home / local_triton.REPOSITORY
    repository.mkdir(parents=True)
    _render(repository)
    chosen = ports.choose(local_triton.PORTS, {})
    child = local_triton.child(home, (ENTRY,), chosen, f"outage-{chosen['triton-grpc']}-")
    http = f"{ports.HOST}:{chosen['triton-http']}"
    async with outages.running(child, home) as server:
        # As beside the local stack's: an instance that was stopped for longer than a second is ended by Triton.
        watch = InstanceWatch(home, http, lambda: server.process, lambda _: None, print)
        watching = asyncio.create_task(watch.run())
        yield server, f"{ports.HOST}:{chosen['triton-grpc']}"
        watching.cancel()


@pytest.fixture
async def steady(stack: RunningStack) -> str:
    """A model that finds nothing in any image, in the Triton that all tests share."""
    _render(stack.home / "triton" / "repository")
    client = triton_client.InferenceServerClient(stack.triton)
    await client.load_model(ENTRY)
    await client.close()
    return MODEL


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_kafka_away(
    stack: RunningStack,
    steady: str,
    broker: tuple[Server, str],
    photo: Path,
    member: str,
    tmp_path: Path,
    how: str,
) -> None:
    """Kafka away in mid-job: consumer and aggregator say so and wait, and the file is the undisturbed one's."""
    server, servers = broker
    home = tmp_path / "home"
    home.mkdir()
    await core_kafka.create_topics(servers)
    spec = outages.job(member, steady, 2 * COUNT)
    places = {name: outages.free_port() for name in ("consumer", "aggregator")}
    with (
        service(
            "consumer", home, servers, "consumer", triton=stack.triton, http_port=str(places["consumer"]),
            shm_prefix=f"{stack.shm_prefix}{member}",
        ) as consumer,
        service("aggregator", home, servers, "aggregator", http_port=str(places["aggregator"])) as aggregator,
    ):  # fmt: skip
        services: dict[str, Service] = {"consumer": consumer, "aggregator": aggregator}
        await outages.publish(servers, spec, [photo.as_uri()] * COUNT)
        async with outages.answers(servers, spec.job) as found:
            await found.reach(lambda done: len(done) > COUNT // 4)
        if how == "stopped":
            server.send(signal.SIGSTOP)
        else:
            server.kill()
        for name, process in services.items():
            await outages.announced(process, places[name], "kafka")
        await outages.outage()
        if how == "stopped":
            server.send(signal.SIGCONT)
        else:
            await server.start()
        await outages.publish(servers, spec, [photo.as_uri()] * COUNT, first=COUNT)
        async with outages.answers(servers, spec.job) as found:
            await found.reach(lambda done: len(done) == 2 * COUNT)
        path = result_path(home / "results", spec.job)
        wait_for("the file", path.exists)
        for name in services:
            await outages.over(places[name], "kafka")
        assert all(process.runs for process in services.values())
    assert set(found.outcomes.values()) == {Outcome.EMPTY}
    assert path.read_bytes() == expected(spec, list(found.first.values()))


async def test_kafka_killed_while_a_job_is_published(
    stack: RunningStack, steady: str, broker: tuple[Server, str], photo: Path, member: str, tmp_path: Path
) -> None:
    """Kafka killed in the midst of a job's publishing: the producer says so and waits, goes on where it was, and the
    file has every image once."""
    server, servers = broker
    home, listed = tmp_path / "home", tmp_path / "list.jsonl"
    listed.write_text("".join(f'{{"file": "{number}.png", "uri": "{photo.as_uri()}"}}\n' for number in range(IMAGES)))
    await core_kafka.create_topics(servers)
    port = outages.free_port()
    with (
        service(
            "producer", home, servers, "producer", http_port=str(port), publish_ahead_seconds="0.3",
        ) as producer,
        service(
            "consumer", home, servers, "consumer", triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
            commit_seconds="0.1",
        ),
        service("aggregator", home, servers, "aggregator"),
    ):  # fmt: skip
        model = outages.job(member, steady, IMAGES).model
        spec = await submit.submit(
            servers, home / "results", [str(listed)], name=member, lane=Lane.BULK, model=model, threshold=0.005
        )
        async with outages.answers(servers, spec.job) as found:
            await found.reach(lambda done: len(done) > IMAGES // 4)
            server.kill()
        before = cursor.read(cursor.cursor_path(home / "producer", spec.job), spec.manifest_sha256).seq
        assert IMAGES // 8 < before < IMAGES
        await outages.announced(producer, port, "kafka")
        await server.start()
        async with outages.answers(servers, spec.job) as found:
            await found.reach(lambda done: len(done) == IMAGES)
        path = result_path(home / "results", spec.job)
        wait_for("the file", path.exists)
        await outages.over(port, "kafka")
    whole = await spec_when(servers, spec.job, sealed)
    references = [each.ref.seq for each in await published(servers, spec.job)]
    assert set(references) == set(range(IMAGES))
    assert len(references) <= 2 * IMAGES - before
    assert path.read_bytes() == expected(whole, list(found.first.values()))


async def test_consumers_stop_without_kafka(broker: tuple[Server, str]) -> None:
    """Kafka killed: a consumer that waits to ask again can be stopped, and whoever stops it goes on."""
    server, servers = broker
    await core_kafka.create_topics(servers)
    consumer = core_kafka.Consumer(bootstrap_servers=servers, retry_backoff_ms=10_000)
    await consumer.start()
    part = TopicPartition(topics.DETECTIONS.name, 0)
    consumer.assign([part])
    assert await consumer.position(part) == 0
    assert not await consumer.getmany(timeout_ms=100)  # it has asked, and is not answered yet
    server.kill()
    assert not await consumer.getmany(timeout_ms=500)
    await consumer.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_triton_away(
    stack: RunningStack, triton: tuple[Server, str], photo: Path, member: str, tmp_path: Path, how: str
) -> None:
    """Triton away in mid-job: the consumer says so and waits; no image fails, and it goes on by itself."""
    server, address = triton
    await core_kafka.create_topics(stack.kafka)
    spec, port = outages.job(member, MODEL, 2 * COUNT), outages.free_port()
    with service(
        "consumer", tmp_path / "home", stack.kafka, triton=address, http_port=str(port),
        shm_prefix=f"{stack.shm_prefix}{member}",
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, spec.job) as found:
            await outages.publish(stack.kafka, spec, [photo.as_uri()] * COUNT)
            await found.reach(lambda done: len(done) > COUNT // 4)
            if how == "stopped":
                server.send(signal.SIGSTOP)
            else:
                server.kill()
            await outages.publish(stack.kafka, spec, [photo.as_uri()] * COUNT, first=COUNT)
            await outages.announced(process, port, "triton")
            await outages.outage()
            assert len(found.outcomes) < 2 * COUNT
            if how == "stopped":
                server.send(signal.SIGCONT)
            else:
                await server.start()
            await found.reach(lambda done: len(done) == 2 * COUNT)
            await outages.over(port, "triton")
            assert process.stop() == 0, process.log
    assert set(found.outcomes.values()) == {Outcome.EMPTY}


def _render(repository: Path) -> None:
    graph = repository.parent / "steady.onnx"
    graphs.save_picky(graph, graphs.ANY)
    repository_entry.render_cpu(graph, ENTRY, repository, repository_entry.CpuServing(instances=1))
