"""The bounded channel between stages."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import patient
from trapstream.core.channel import Channel, Statistics


async def _settle() -> None:
    """Lets every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_channel_without_room_is_refused() -> None:
    """A channel holds at least one item."""
    with pytest.raises(ValueError, match="at least one"):
        Channel[int](0)


async def test_a_full_channel_holds_its_senders() -> None:
    """A sender waits while the channel is full, and goes on when an item is taken."""
    channel = Channel[int](2)
    await channel.send(1)
    await channel.send(2)
    third = asyncio.create_task(channel.send(3))
    await _settle()
    assert not third.done()
    assert channel.statistics() == Statistics(used=2, size=2, senders_waiting=1, receivers_waiting=0)
    assert await channel.receive() == 1
    await third
    assert channel.statistics() == Statistics(used=2, size=2, senders_waiting=0, receivers_waiting=0)


async def test_an_empty_channel_holds_its_receivers() -> None:
    """A receiver waits for an item, and the statistics say so."""
    channel = Channel[int](2)
    receiver = asyncio.create_task(channel.receive())
    await _settle()
    assert channel.statistics().receivers_waiting == 1
    await channel.send(7)
    assert await receiver == 7
    assert channel.statistics().receivers_waiting == 0


async def test_a_batch_is_what_is_ready() -> None:
    """A batch waits for its first item only, and is never larger than asked."""
    channel = Channel[int](8)
    waiting = asyncio.create_task(channel.receive_batch(3))
    await _settle()
    for item in range(5):
        await channel.send(item)
    assert await waiting == [0, 1, 2]
    assert await channel.receive_batch(3) == [3, 4]


async def test_a_batch_frees_as_many_senders_as_it_took_items() -> None:
    """Taking a whole batch wakes every sender that now has room."""
    channel = Channel[int](3)
    senders = [asyncio.create_task(channel.send(item)) for item in range(6)]
    await _settle()
    assert await channel.receive_batch(3) == [0, 1, 2]
    await asyncio.gather(*senders)
    assert await channel.receive_batch(3) == [3, 4, 5]


async def test_a_cancelled_receiver_hands_its_wake_up_on() -> None:
    """A receiver that is cancelled just after it was woken does not strand the item that woke it."""
    channel = Channel[int](2)
    first, second = asyncio.create_task(channel.receive()), asyncio.create_task(channel.receive())
    await _settle()
    await channel.send(1)  # wakes `first`, which has not run yet
    first.cancel()
    async with asyncio.timeout(patient(5)):
        assert await second == 1


async def test_a_cancelled_sender_hands_its_wake_up_on() -> None:
    """A sender that is cancelled just after it was woken leaves the room to the next one."""
    channel = Channel[int](1)
    await channel.send(0)
    first, second = asyncio.create_task(channel.send(1)), asyncio.create_task(channel.send(2))
    await _settle()
    assert await channel.receive() == 0
    first.cancel()
    async with asyncio.timeout(patient(5)):
        await second
        assert await channel.receive() == 2


async def test_those_who_gave_up_are_not_counted() -> None:
    """A cancelled waiter is no waiter in the statistics."""
    channel = Channel[int](1)
    receiver = asyncio.create_task(channel.receive())
    await _settle()
    receiver.cancel()
    await _settle()
    assert channel.statistics().receivers_waiting == 0


@given(size=st.integers(1, 5), senders=st.integers(1, 4), receivers=st.integers(1, 4), each=st.integers(0, 30))
def test_every_item_comes_out_once(size: int, senders: int, receivers: int, each: int) -> None:
    """Whatever the number of senders and receivers, every item comes out once, and a sender's in its order."""
    taken: list[tuple[int, int]] = []
    all_taken = asyncio.Event()

    async def receive(channel: Channel[tuple[int, int]], number: int) -> None:
        while True:
            items = [await channel.receive()] if number % 2 else await channel.receive_batch(3)
            assert channel.statistics().used <= size
            taken.extend(items)
            if len(taken) == senders * each:
                all_taken.set()
            await asyncio.sleep(0)

    async def send(channel: Channel[tuple[int, int]], number: int) -> None:
        for item in range(each):
            await channel.send((number, item))

    async def trial() -> None:
        channel = Channel[tuple[int, int]](size)
        async with asyncio.timeout(patient(10)):
            taking = [asyncio.create_task(receive(channel, number)) for number in range(receivers)]
            await asyncio.gather(*(send(channel, number) for number in range(senders)))
            if each:
                await all_taken.wait()
            for task in taking:
                task.cancel()
            await asyncio.gather(*taking, return_exceptions=True)

    asyncio.run(trial())
    assert sorted(taken) == [(number, item) for number in range(senders) for item in range(each)]
    for number in range(senders):
        assert [item for sender, item in taken if sender == number] == list(range(each))
