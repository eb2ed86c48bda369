"""When a child is held to hang: after its time without an answer, and not for being slow, or for a sleep of ours."""

import asyncio
import time

import pytest

from tests.waiting import patient
from trapstream.local.child import Child, hung

SILENT = 0.6


class Stand:
    """A child that answers as the test says."""

    def __init__(self) -> None:
        self.answers, self.asked = False, 0

    async def alive(self) -> bool:
        self.asked += 1
        return self.answers

    @property
    def child(self) -> Child:
        return Child(name="stand", argv=("true",), alive=self.alive, silent_seconds=SILENT)


async def test_silence_ends_after_its_time() -> None:
    """A child that refuses to answer hangs, and not before its time is over."""
    stand, began = Stand(), time.monotonic()
    await hung(stand.child)
    assert time.monotonic() - began >= SILENT
    assert stand.asked > 5


async def test_an_ask_that_is_never_answered_counts() -> None:
    """A stopped process takes connections still, and says nothing."""

    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    async with asyncio.timeout(patient(30)):
        await hung(Child(name="stopped", argv=("true",), alive=never, silent_seconds=SILENT))


async def test_one_answer_is_enough() -> None:
    """Who answers now and then, however seldom, is slow and does not hang."""
    asks = iter(range(1_000))

    async def seldom() -> bool:
        return next(asks) % 5 == 4

    task = asyncio.create_task(hung(Child(name="slow", argv=("true",), alive=seldom, silent_seconds=SILENT)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4 * SILENT):
            await task
