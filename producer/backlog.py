"""How many references of a lane wait for the consumers: Kafka's own figures, asked for again and again."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from trapstream.core import kafka, lag, log, metrics, retry, topics
from trapstream.core.errors import Retryable
from trapstream.core.lag import Answered
from trapstream.core.messages import Lane

_AGAIN_SECONDS = 1.0
_Clients = tuple[AIOKafkaAdminClient, kafka.Consumer]


class Figures(NamedTuple):
    """How far a lane is, by partition."""

    answered: Mapping[int, Answered]
    ends: Mapping[int, int]

    def unanswered(self) -> int:
        """References that have no answer, those included that keep no consumer busy."""
        return sum(max(0, end - self.answered[number].offset) for number, end in self.ends.items())

    def waiting(self) -> int:
        """References that have no answer, without those that keep no consumer busy."""
        parts = [(end, self.answered[number]) for number, end in self.ends.items()]
        return sum(max(0, end - part.offset - part.aside) for end, part in parts)


async def figures(servers: str, lane: Lane, pause: Callable[[], Awaitable[None]]) -> AsyncGenerator[Figures, None]:
    """A lane's figures after each `pause`, for ever. A broker that is away is waited for."""
    while True:
        async with _clients(servers) as (admin, client):
            try:
                while True:
                    await pause()
                    answered = await lag.answered(admin, client, lane)
                    yield Figures(answered, await lag.ends(client, topics.lane_topic(lane)))
            except (KafkaError, OSError) as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
        await asyncio.sleep(_AGAIN_SECONDS)


@contextlib.asynccontextmanager
async def _clients(servers: str) -> AsyncIterator[_Clients]:
    """The clients that ask; waits for a broker that is away."""
    admin, client = await retry.until_back(lambda: _started(servers), "kafka")
    try:
        yield admin, client
    finally:
        await client.stop()
        await admin.close()


async def _started(servers: str) -> _Clients:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    client = kafka.Consumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False)
    try:
        await admin.start()
        await client.start()
    except (KafkaError, OSError) as error:
        await client.stop()
        await admin.close()
        raise Retryable(f"{servers}: {error!r}") from error
    return admin, client


class LiveBacklog:
    """How many live images wait for their answer: those not published yet, and those that consumers have not answered.

    While Kafka does not answer, its last figure stands, and the number of unpublished images grows.
    """

    def __init__(self, servers: str, unpublished: Callable[[], int]) -> None:
        self._servers, self._unpublished = servers, unpublished
        self._unanswered = 0

    @property
    def images(self) -> int:
        """The newest figure."""
        return self._unanswered + self._unpublished()

    async def run(self) -> None:
        """Keeps the figure, until cancelled."""
        async with contextlib.aclosing(figures(self._servers, Lane.LIVE, lambda: asyncio.sleep(1.0))) as found:
            async for each in found:
                self._unanswered = each.unanswered()
                metrics.LIVE_BACKLOG.set(self.images)
