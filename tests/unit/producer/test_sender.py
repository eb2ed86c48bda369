"""Sending chunks: who waits for Kafka says so, for itself, and chunks on their way are bounded."""

import asyncio
from collections.abc import Sequence

from producer.chunks import Chunk
from producer.cursor import Cursor
from producer.publish import MOST_IN_FLIGHT, Sender
from tests.unit.values import job_spec
from trapstream.core.messages import Lane
from trapstream.core.outbox import Outbox

SPEC = job_spec(lane=Lane.BULK)


class Held(Outbox):
    """An outbox whose messages are acknowledged when the test says so."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1")
        self.queued: list[asyncio.Future[object]] = []

    async def send_batch(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes]]
    ) -> list[asyncio.Future[object]]:
        assert topic == "images.bulk" and 0 <= partition < 16 and len(records) == 1
        self.queued.append(asyncio.get_running_loop().create_future())
        return self.queued[-1:]


def chunk(number: int) -> Chunk:
    return Chunk([b"ref"], number, Cursor("", number + 1, 0))


async def test_chunks_on_their_way_are_bounded() -> None:
    """One more than the most is sent once another one is acknowledged."""
    outbox = Held()
    sending = Sender(outbox)
    for number in range(MOST_IN_FLIGHT):
        await sending.send(SPEC, chunk(number))
    another = asyncio.create_task(sending.send(SPEC, chunk(MOST_IN_FLIGHT)))
    await asyncio.wait({another}, timeout=0.05)
    assert not another.done()
    outbox.queued[3].set_result(None)
    await another
