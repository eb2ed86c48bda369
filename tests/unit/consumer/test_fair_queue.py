"""Where both lanes meet: who is let through, and who is woken."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.fair_queue import FairQueue
from consumer.lanes import Shares
from tests.waiting import eventually
from trapstream.core.messages import Lane

items = st.lists(st.tuples(st.sampled_from(Lane), st.integers(1, 5)), max_size=60)


def fair_queue(size: int = 100) -> FairQueue[int]:
    """One whose items are as many images as they say."""
    return FairQueue(Shares(0.8), size, images=lambda item: item)


def always(*_: object) -> bool:
    """No lane is held."""
    return True


@given(items, st.integers(1, 8))
async def test_what_is_sent_is_taken_once_and_in_order(sent: list[tuple[Lane, int]], most: int) -> None:
    """Each lane's items come out in their order, at most so many together, and of one lane at a time."""
    queue, taken = fair_queue(), {lane: list[int]() for lane in Lane}
    for lane, item in sent:
        await queue.send(lane, item)
    while sum(map(len, taken.values())) < len(sent):
        lane, some = await queue.take(most, counts=always, fits=always)
        assert 1 <= len(some) <= most
        taken[lane] += some
    assert taken == {lane: [item for mine, item in sent if mine is lane] for lane in Lane}


@given(st.lists(st.integers(1, 5), min_size=80, max_size=80), st.lists(st.integers(1, 5), min_size=20, max_size=20))
@settings(max_examples=25)
async def test_lanes_are_charged_by_images(live: list[int], bulk: list[int]) -> None:
    """While both lanes have items the images that are taken are shared, whatever each item holds."""
    queue, images = fair_queue(200), dict.fromkeys(Lane, 0)
    for lane, some in ((Lane.LIVE, live), (Lane.BULK, bulk)):
        for item in some:
            await queue.send(lane, item)
    while all(channel.statistics().used for channel in queue.channels.values()):
        lane, [item] = await queue.take(1, counts=always, fits=always)
        images[lane] += item
    assert abs(images[Lane.BULK] - sum(images.values()) / 5) <= 10


async def test_nobody_slips_past_what_does_not_fit() -> None:
    """An item whose turn it is holds the other lane until it fits, so that it is not passed by for ever."""
    queue, room = fair_queue(), False
    await queue.send(Lane.BULK, 1)
    await queue.take(1, counts=always, fits=always)  # bulk had its turn, then live its four, so bulk is next
    for _ in range(6):
        await queue.send(Lane.LIVE, 1)
    await queue.send(Lane.BULK, 1)
    found: list[Lane] = []

    async def take() -> None:
        while len(found) < 7:
            lane, _ = await queue.take(1, counts=always, fits=lambda lane, _: room or lane is Lane.LIVE)
            found.append(lane)

    taking = asyncio.create_task(take())

    async def held() -> bool:
        return Lane.BULK not in found and 1 <= len(found) < 6

    await eventually("live images before it", held)
    room = True
    queue.changed()
    await taking
    assert found.count(Lane.BULK) == 1


async def test_who_takes_one_lane_only_is_woken_when_the_other_had_its_turn() -> None:
    """Somebody who may take live images alone waits while it is bulk's turn, and goes on once another took that."""
    queue = fair_queue()
    await queue.send(Lane.LIVE, 5)
    await queue.take(1, counts=always, fits=always)
    await queue.send(Lane.LIVE, 1)
    await queue.send(Lane.BULK, 1)
    waiting = asyncio.create_task(queue.take(1, counts=always, fits=lambda lane, _: lane is Lane.LIVE))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (await queue.take(1, counts=always, fits=always))[0] is Lane.BULK
    while not waiting.done():
        await queue.send(Lane.BULK, 1)
        if not waiting.done():
            await queue.take(1, counts=always, fits=always)
        await asyncio.sleep(0)
    assert (await waiting)[0] is Lane.LIVE


async def test_a_lane_that_does_not_count_waits_without_holding_the_other() -> None:
    """Where a lane lacks what it needs, such as a slab, the other goes on, and it is taken once it has that."""
    queue, slabs = fair_queue(), {Lane.BULK}
    await queue.send(Lane.LIVE, 1)
    await queue.send(Lane.BULK, 1)
    assert (await queue.take(1, counts=slabs.__contains__, fits=always))[0] is Lane.BULK
    waiting = asyncio.create_task(queue.take(1, counts=slabs.__contains__, fits=always))
    await asyncio.sleep(0)
    assert not waiting.done()
    slabs.add(Lane.LIVE)
    queue.changed()
    assert (await waiting)[0] is Lane.LIVE
