"""How many references of a lane wait for the consumers: Kafka's own figures, asked for again and again."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import NamedTuple

from trapstream.core import lag, log, metrics, topics
from trapstream.core.errors import Retryable
from trapstream.core.lag import Answered
from trapstream.core.messages import Lane

_AGAIN_SECONDS = 1.0


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
        try:
            async with lag.connected(servers) as asked:
                while True:
                    await pause()
                    answered = await asked.answered(lane)
                    yield Figures(answered, await asked.ends(topics.lane_topic(lane)))
        except Retryable as error:
            log.get_logger().warning("waiting", on="kafka", error=str(error))
        await asyncio.sleep(_AGAIN_SECONDS)


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
