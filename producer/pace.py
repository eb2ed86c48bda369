"""Paced publishing: the bulk lane holds few references ahead of its consumers, and jobs share its room by weight.

A manifest of millions published at once would stand in the topic before every job that comes later, and a cancelled
one would have to be read to its end. So each job gets its part of the room that the consumers left since the last
look. The live lane is not paced: its images are few, and nobody may wait behind them.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from producer.ahead import Ahead, divided
from trapstream.core import kafka, lag, log, metrics, retry, topics
from trapstream.core.errors import Retryable
from trapstream.core.lag import Answered
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.settings import ProducerSettings

_LOOK_SECONDS = 0.5
"""Between two looks at Kafka's figures, while a job is published. Two small requests each."""
_SAY_SECONDS = 10.0
"""Consumers that take nothing for so long are said to be away, as often as this."""
_ON = "consumers"

_Clients = tuple[AIOKafkaAdminClient, kafka.Consumer]


class Place:
    """One job's place in the pace."""

    def __init__(self, weight: float, room: float) -> None:
        self.weight = weight
        self.room = room
        """References that it may send now; below 1 it waits. Infinite without a bound."""
        self.unsettled = 0
        """References sent and not yet acknowledged: no look has seen them for sure."""
        self._granted = False
        self._news = asyncio.Event()

    @property
    def wanting(self) -> bool:
        """Whether it has used up what it was given."""
        return self._granted and self.room < 1

    def sent(self, count: int) -> None:
        """So many were sent."""
        self.room -= count
        self.unsettled += count

    def settled(self, count: int) -> None:
        """So many were acknowledged."""
        self.unsettled -= count

    def grant(self, room: float) -> None:
        """A look's part for this job, in place of what it had; parts of a reference add up."""
        self.room = min(max(self.room, 0.0), 1.0) + room
        self._granted = True
        self.wake()

    def wake(self) -> None:
        """Ends a wait."""
        self._news.set()

    async def wait(self, stop: asyncio.Event) -> None:
        """Returns after the next look, or once it is woken since `stop` is set."""
        self._news.clear()
        if not stop.is_set():
            await self._news.wait()


class Pace:
    """The places of the jobs that this producer publishes on the bulk lane, and who fills them."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.share = 1.0
        """This producer's part of the room, where several publish."""
        self._servers = settings.kafka
        self._paced = settings.publish_ahead > 0
        self._ahead = Ahead(settings.publish_ahead, settings.publish_ahead_seconds)
        self._places: dict[str, Place] = {}
        self._joined = asyncio.Event()
        self._answered, self._since, self._said = -1, 0.0, False

    @contextlib.contextmanager
    def place(self, spec: JobSpec) -> Iterator[Place]:
        """A place for a job while it is published."""
        if spec.lane is not Lane.BULK or not self._paced:
            yield Place(spec.weight, math.inf)
            return
        place = self._places[spec.job] = Place(spec.weight, 0.0)
        self._joined.set()
        try:
            yield place
        finally:
            if self._places.get(spec.job) is place:
                del self._places[spec.job]

    def wake(self) -> None:
        """Ends all waits."""
        for place in self._places.values():
            place.wake()

    async def run(self) -> None:
        """Looks at Kafka's figures and grants room, while there are places: for ever, until cancelled."""
        while True:
            async with _figures(self._servers) as (admin, client):
                try:
                    await self._run(admin, client)
                except (KafkaError, OSError) as error:
                    log.get_logger().warning("waiting", on="kafka", error=repr(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _run(self, admin: AIOKafkaAdminClient, client: kafka.Consumer) -> None:
        while True:
            if not self._places:
                self._say(-1, 0, held=False)
                metrics.BACKLOG.labels(Lane.BULK).set(0)
                await self._joined.wait()
            self._joined.clear()
            self._grant(await lag.answered(admin, client, Lane.BULK), await lag.ends(client, topics.BULK))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._joined.wait(), _LOOK_SECONDS)  # whoever comes new need not wait

    def _grant(self, answered: Mapping[int, Answered], ends: Mapping[int, int]) -> None:
        places = self._places
        done = sum(part.offset + part.aside for part in answered.values())
        backlog = sum(max(0, end - answered[number].offset - answered[number].aside) for number, end in ends.items())
        backlog += sum(place.unsettled for place in places.values())
        wanting = any(place.wanting for place in places.values())
        most = self._ahead.look(time.monotonic(), done, backlog, wanting)
        room = max(0.0, (most - backlog) * self.share)
        for job, part in divided(room, {job: place.weight for job, place in places.items()}).items():
            places[job].grant(part)
        metrics.BACKLOG.labels(Lane.BULK).set(backlog)
        metrics.BACKLOG_MOST.labels(Lane.BULK).set(most)
        self._say(done, backlog, held=wanting and not room)

    def _say(self, answered: int, backlog: int, held: bool) -> None:
        """Says now and then that the consumers take nothing, and that they do again. Nothing is wrong meanwhile."""
        now = time.monotonic()
        if answered != self._answered or not held:
            if self._said:
                log.get_logger().info("back", what=_ON, lane=Lane.BULK, backlog=backlog)
                metrics.WAITING.labels(_ON).set(0)
            self._answered, self._since, self._said = answered, now, False
        elif now - self._since >= _SAY_SECONDS:
            self._since, self._said = now, True
            metrics.WAITING.labels(_ON).set(1)
            log.get_logger().warning("waiting", on=_ON, lane=Lane.BULK, backlog=backlog, jobs=len(self._places))


@contextlib.asynccontextmanager
async def _figures(servers: str) -> AsyncIterator[_Clients]:
    """The clients that ask; waits for a broker that is away."""
    async with contextlib.AsyncExitStack() as held:

        async def start() -> _Clients:
            admin = AIOKafkaAdminClient(bootstrap_servers=servers)
            client = kafka.Consumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False)
            try:
                await admin.start()
                await client.start()
            except (KafkaError, OSError) as error:
                await client.stop()
                await admin.close()
                raise Retryable(f"{servers}: {error!r}") from error
            held.push_async_callback(admin.close)
            held.push_async_callback(client.stop)
            return admin, client

        yield await retry.until_back(start, "kafka")
