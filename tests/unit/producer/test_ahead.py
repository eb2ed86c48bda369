"""How far publishing runs ahead of the consumers, against consumers that take what they can and commit now and then."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.ahead import Ahead, divided

LEAST, SECONDS, LOOK = 128, 3.0, 0.5

rates = st.floats(1, 20_000)


def lived(rate: float, commit: float, looks: int) -> tuple[list[int], list[float]]:
    """The backlog after each grant, and the references that consumers of this rate could have taken and had not."""
    ahead, published, taken, committed, since = Ahead(LEAST, SECONDS), 0.0, 0.0, 0.0, 0.0
    backlogs, dry = [], []
    for number in range(looks):
        now = number * LOOK
        if number:
            done = min(published, taken + rate * LOOK)
            dry.append(taken + rate * LOOK - done)
            taken = done
        if now - since >= commit:
            committed, since = taken, now
        backlog = int(published - committed)
        most = ahead.update(now, int(committed), backlog, used_up=number > 0)
        published += max(0, most - backlog)
        backlogs.append(int(published - taken))
    return backlogs, dry


@given(rate=rates, commit=st.sampled_from([0.5, 1.0]))
def test_consumers_do_not_run_dry(rate: float, commit: float) -> None:
    """Whatever their rate, after some seconds the consumers always have work."""
    _, dry = lived(rate, commit, 80)
    assert not any(dry[40:])


@given(rate=rates, commit=st.sampled_from([0.5, 1.0]))
def test_few_references_wait(rate: float, commit: float) -> None:
    """A job that comes later waits for a few seconds of work, or for the least that is always there."""
    backlogs, _ = lived(rate, commit, 80)
    assert max(backlogs[40:]) <= max(LEAST, 1.5 * SECONDS * rate) + 1


@given(backlogs=st.lists(st.integers(0, 100_000), max_size=60))
def test_without_consumers_it_stays(backlogs: list[int]) -> None:
    """Where nothing is answered and much waits, the bound does not grow."""
    ahead = Ahead(LEAST, SECONDS)
    assert {ahead.update(n * LOOK, 7, LEAST + waiting, used_up=True) for n, waiting in enumerate(backlogs)} <= {LEAST}


@given(room=st.floats(0, 1e6), weights=st.dictionaries(st.text(max_size=3), st.integers(1, 100), max_size=20))
def test_jobs_share_by_weight(room: float, weights: dict[str, int]) -> None:
    """All of the room is given, to each job by its weight."""
    parts = divided(room, weights)
    assert parts.keys() == weights.keys()
    total = sum(weights.values())
    assert all(parts[job] * total == pytest.approx(room * weight) for job, weight in weights.items())


def test_it_falls_again() -> None:
    """Consumers that become slow have less waiting after some seconds."""
    ahead, looks = Ahead(LEAST, SECONDS), deque([0])
    for number in range(20):
        looks.append(looks[-1] + 5_000)
        fast = ahead.update(number * LOOK, looks[-1], 1_000, used_up=True)
    for number in range(20, 60):
        slow = ahead.update(number * LOOK, looks[-1], 1_000, used_up=True)
    assert fast > 10_000
    assert slow == LEAST
