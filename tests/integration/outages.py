"""What tests of outages share: how long one lasts, servers of their own that may be killed, and what services say."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.service import Service
from tests.unit.values import job_spec
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import ImageRef, ImageResult, JobSpec, Lane, ModelInfo, Outcome
from trapstream.local import ports, processes
from trapstream.local.broker import PORTS, prepare
from trapstream.local.child import Child
from trapstream.local.plan import jars_folder

SECONDS = float(os.environ.get("TRAPSTREAM_TEST_OUTAGE_SECONDS", "6"))
"""How long a server is away."""


class Server:
    """A child of the local stack without a supervisor: away for as long as a test wants."""

    def __init__(self, child: Child, home: Path) -> None:
        self._child = child
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        self._spawn()
        await eventually(self._child.name, self._child.health, self._child.start_seconds)

    def _spawn(self) -> None:
        with (self._home / f"{self._child.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._child.argv, cwd=self._home, env={**os.environ, **self._child.env}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL, with all that it has started; what it left in shared memory is removed, as a supervisor would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        processes.sweep(self._child.shm_prefix)

    async def keep(self) -> None:
        """Starts it again where it ends unasked, as the local stack's supervisor does: for ever, until cancelled.

        Triton may abort when it wakes: a lock that it shares with an instance was held for longer than it waits.
        """
        while True:
            if self._process is not None and self._process.poll() is not None:
                self.kill()  # what it has started outlives it
                await self.start()
            await asyncio.sleep(0.2)  # between two looks of one who watches for as long as the test lasts

    @property
    def process(self) -> psutil.Process | None:
        """Where it runs; None while it does not."""
        running = self._process is not None and self._process.poll() is None
        return psutil.Process(self._process.pid) if self._process is not None and running else None

    def send(self, number: signal.Signals) -> None:
        """A signal to it and all that it has started."""
        assert self._process is not None
        os.killpg(self._process.pid, number)


@contextlib.asynccontextmanager
async def running(child: Child, home: Path) -> AsyncIterator[Server]:
    """The server, gone afterwards."""
    server = Server(child, home)
    keeper = asyncio.create_task(server.keep())
    try:
        await server.start()
        yield server
    finally:
        keeper.cancel()
        server.kill()


@contextlib.asynccontextmanager
async def broker(home: Path, more: str = "") -> AsyncIterator[tuple[Server, str]]:
    """A Kafka of a test's own, with `more` properties, and its address: nobody starts it again but the test."""
    chosen = ports.choose(PORTS, {})
    child = await prepare(home, await jars_folder(print), chosen)
    _append(home / "kafka" / "server.properties", more)
    async with running(child, home) as server:
        yield server, f"{ports.HOST}:{chosen['kafka']}"


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def free_port() -> int:
    """A port of this machine."""
    return ports.choose(("one",), {})["one"]


def says(service: Service, what: str, on: str) -> bool:
    """Whether its log has `what` ("waiting", "back") about `on`."""
    lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
    return any(line.get("event") == what and on in {line.get("on"), line.get("what")} for line in lines)


def waiting(port: int, on: str) -> float:
    """The metric trapstream_waiting of the service at `port`; 0 where it never waited for that."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(rf'^trapstream_waiting{{on="{on}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def asked(question: Callable[[], bool]) -> bool:
    """The answer to a question that blocks."""
    return await asyncio.to_thread(question)


async def announced(service: Service, port: int, on: str) -> None:
    """Waits until the service says in its log and by its metric that it waits for `on`."""

    async def both() -> bool:
        return says(service, "waiting", on) and await asyncio.to_thread(waiting, port, on) == 1.0

    await eventually(f"word of waiting for {on}", both)


async def over(port: int, on: str) -> None:
    """Waits until the metric says that nobody waits for `on` any more."""

    async def well() -> bool:
        return await asyncio.to_thread(waiting, port, on) == 0.0

    await eventually(f"the end of the wait for {on}", well)


def job(name: str, model: str, images: int) -> JobSpec:
    """A job of one of the tests' models."""
    info = ModelInfo(
        name=model, version="1", sha256="0" * 64, image_size=64, stride=32, classes={"1": "animal"},
        typical_threshold=0.2, conservative_threshold=0.1,
    )  # fmt: skip
    return job_spec(job=name, model=info, images=images, total=images)


async def publish(servers: str, spec: JobSpec, uris: Sequence[str], first: int = 0) -> None:
    """Makes the job and sends a reference for each of `uris`."""
    producer = await kafka.start_producer(servers)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
    for seq, uri in enumerate(uris, first):
        ref = ImageRef(job=spec.job, seq=seq, file=f"{seq}.png", uri=uri)
        await producer.send(topics.lane_topic(Lane(spec.lane)).name, messages.encode(ref))
    await producer.stop()


class Answers:
    """The results of a job, as they come into the log: sequence number to outcome."""

    def __init__(self, servers: str, name: str) -> None:
        self._servers, self._job = servers, name
        self.first: dict[int, ImageResult] = {}
        """The first result of each image."""

    @property
    def outcomes(self) -> dict[int, Outcome]:
        """What became of each image."""
        return {seq: result.outcome for seq, result in self.first.items()}

    async def follow(self) -> None:
        """Reads for ever."""
        mine = f'"{self._job}"'.encode()
        async for records in kafka.follow(self._servers, topics.DETECTIONS):
            for record in records:
                if mine in record.value:
                    result = messages.decode(record.value, ImageResult)
                    self.first.setdefault(result.seq, result)

    async def reach(self, enough: Callable[[set[int]], bool], seconds: float = 40.0) -> None:
        """Waits until the answered images are `enough`."""

        async def there() -> bool:
            return enough(set(self.first))

        try:
            await eventually("the answers", there, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {len(self.first)}") from None


@contextlib.asynccontextmanager
async def answers(servers: str, name: str) -> AsyncIterator[Answers]:
    """The job's answers, followed."""
    found = Answers(servers, name)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(found.follow())
        yield found
        task.cancel()


async def outage() -> None:
    """The time that a server is away: what is tested here is time itself."""
    await asyncio.sleep(SECONDS)


async def lag(servers: str, lane: Lane) -> int:
    """References of the lane that are there and not yet committed: others may have deleted some unread."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    committed = await admin.list_consumer_group_offsets(f"consumer-{lane}")
    await admin.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    topic = topics.lane_topic(lane)
    ends = await consumer.end_offsets([TopicPartition(topic.name, number) for number in range(topic.partitions)])
    begins = await consumer.beginning_offsets(list(ends))
    await consumer.stop()
    read = {part: max(begins[part], committed[part].offset if part in committed else -1) for part in ends}
    return sum(end - read[part] for part, end in ends.items())
