"""Waiting for a server that is away."""

import asyncio
import contextlib
import itertools

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.core import retry
from trapstream.core.errors import Permanent, Reason, Retryable


class Sleeps:
    """Stands in for asyncio.sleep: keeps the seconds asked for, and takes none."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """No test here waits."""
    sleeps = Sleeps()
    monkeypatch.setattr("trapstream.core.retry.asyncio.sleep", sleeps)
    return sleeps


class Server:
    """Away for `times` calls, then back."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise Retryable("away")
        return "answer"


def waiting_on(what: str) -> float | None:
    """The gauge that says whether this process waits."""
    return prometheus_client.REGISTRY.get_sample_value("trapstream_waiting", {"on": what})


@given(first=st.floats(0.01, 1.0), factor=st.floats(1.0, 100.0))
def test_delays_grow_to_a_limit(first: float, factor: float) -> None:
    """Delays begin near the first, never exceed the limit by more than the jitter, and never end."""
    most = first * factor
    delays = list(itertools.islice(retry.delays(first, most), 50))
    assert 0.75 * first <= delays[0] <= 1.25 * first
    assert all(0.75 * min(first, most) <= delay <= 1.25 * most for delay in delays)
    assert delays[-1] >= 0.75 * most


async def test_an_answer_at_once_costs_nothing(sleeps: Sleeps) -> None:
    """A server that is there is asked once, without waiting."""
    assert await retry.until_back(Server(0), "test-there") == "answer"
    assert sleeps.asked == []


@pytest.mark.parametrize("times", [1, 3, 200])
async def test_waiting_has_no_last_attempt(sleeps: Sleeps, times: int) -> None:
    """However long a server is away, its answer comes in the end."""
    assert await retry.until_back(Server(times), "test-away", most=2.0) == "answer"
    assert len(sleeps.asked) == times
    assert max(sleeps.asked) <= 2.5


async def test_waiting_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gauge is 1 while a service waits, and 0 once the other side is back."""
    seen: list[float | None] = []

    async def look(_: float) -> None:
        seen.append(waiting_on("test-gauge"))

    monkeypatch.setattr("trapstream.core.retry.asyncio.sleep", look)
    await retry.until_back(Server(2), "test-gauge")
    assert seen == [1.0, 1.0]
    assert waiting_on("test-gauge") == 0.0


@pytest.mark.parametrize("end", [Permanent(Reason.MODEL_REFUSED), asyncio.CancelledError()])
async def test_a_wait_that_ends_in_an_error_is_over(sleeps: Sleeps, end: BaseException) -> None:
    """The gauge does not stay at 1 when the other side is back with an error, or when the wait is given up."""
    answers: list[BaseException] = [Retryable("away"), end]

    async def call() -> None:
        raise answers.pop(0)

    with pytest.raises(type(end)):
        await retry.until_back(call, "test-error")
    assert len(sleeps.asked) == 1
    assert waiting_on("test-error") == 0.0


@pytest.mark.parametrize("error", [Permanent(Reason.NOT_FOUND), OSError("disk"), ValueError("a mistake")])
async def test_only_what_is_retryable_is_tried_again(sleeps: Sleeps, error: Exception) -> None:
    """An image's own fault, or a mistake in the program, is never waited for."""

    async def call() -> None:
        raise error

    with pytest.raises(type(error)):
        await retry.until_back(call, "test-other")
    assert sleeps.asked == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_the_gauge_counts_all_who_wait(said: list[tuple[int, bool]]) -> None:
    """Whoever says that it waits no longer, the gauge is 1 while another one of the process still waits."""
    with contextlib.ExitStack() as held:
        waiters = [held.enter_context(retry.Waiter("test-many")) for _ in range(4)]
        waits = [False] * 4
        for number, now in said:
            waiters[number].set(now)
            waits[number] = now
            assert waiting_on("test-many") == float(any(waits))
    assert not said or waiting_on("test-many") == 0.0


def test_a_waiter_that_is_left_waits_no_longer() -> None:
    """Also where an error ends the wait, the gauge goes back to 0."""
    with pytest.raises(ValueError, match="disk"), retry.Waiter("test-left") as waiter:
        waiter.set(True)
        assert waiting_on("test-left") == 1.0
        raise ValueError("disk")
    assert waiting_on("test-left") == 0.0
