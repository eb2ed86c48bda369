"""The watermark, against a model that remembers everything."""

import tracemalloc
from itertools import accumulate, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.core.offsets import Watermark


class Remembers:
    """What a watermark must say, worked out anew from the whole history."""

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.done: set[int] = set()

    @property
    def _below(self) -> list[int]:
        return list(takewhile(self.done.__contains__, self.fetched))

    @property
    def position(self) -> int | None:
        return self._below[-1] + 1 if self._below else None

    @property
    def in_flight(self) -> int:
        return len(self.fetched) - len(self._below)


@given(st.data())
def test_the_watermark_equals_the_whole_history(data: st.DataObject) -> None:
    """After any interleaving of fetches with gaps and completions in any order, position and in_flight are exact."""
    first = data.draw(st.integers(0, 1000))
    gaps = data.draw(st.lists(st.integers(1, 4), max_size=40))
    waiting = list(accumulate(gaps, initial=first))
    mark, model, undone = Watermark(), Remembers(), list[int]()
    while waiting or undone:
        if waiting and (not undone or data.draw(st.booleans())):
            offset = waiting.pop(0)
            mark.fetched(offset)
            model.fetched.append(offset)
            undone.append(offset)
        else:
            offset = undone.pop(data.draw(st.integers(0, len(undone) - 1)))
            mark.done(offset)
            model.done.add(offset)
        assert (mark.position, mark.in_flight) == (model.position, model.in_flight)
    assert mark.in_flight == 0


@given(st.permutations(range(12)))
def test_no_offset_is_committed_before_those_below_it(order: list[int]) -> None:
    """The position never passes an offset that is not done, and never goes back."""
    mark = Watermark()
    for offset in range(12):
        mark.fetched(offset)
    undone, before = set(range(12)), 0
    for offset in order:
        mark.done(offset)
        undone.discard(offset)
        position = mark.position or 0
        assert before <= position <= min(undone, default=12)
        before = position
    assert mark.position == 12


def test_there_is_nothing_to_commit_at_first() -> None:
    """A watermark has no position before something was done."""
    mark = Watermark()
    assert mark.position is None
    mark.fetched(5)
    assert (mark.position, mark.in_flight) == (None, 1)


def test_a_second_completion_does_no_harm() -> None:
    """An offset done twice counts once."""
    mark = Watermark()
    for offset in (3, 4):
        mark.fetched(offset)
    for _ in range(2):
        mark.done(3)
    assert (mark.position, mark.in_flight) == (4, 1)


@pytest.mark.parametrize("offset", [4, 5])
def test_offsets_come_in_the_order_of_the_log(offset: int) -> None:
    """A record that does not come after the last one is a mistake of the caller, and is said to be one."""
    mark = Watermark()
    mark.fetched(5)
    with pytest.raises(ValueError, match="after"):
        mark.fetched(offset)


def test_what_was_never_fetched_cannot_be_done() -> None:
    """An offset beyond the last fetched one cannot be done."""
    with pytest.raises(ValueError, match="never fetched"):
        Watermark().done(0)


def test_what_is_done_behind_an_open_record_costs_no_memory() -> None:
    """A record that waits for days does not make the watermark grow with all that is done meanwhile."""
    mark = Watermark()
    mark.fetched(0)
    tracemalloc.start()
    for offset in range(1, 20_000):
        mark.fetched(offset)
        mark.done(offset)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000  # an offset kept for each would take a million
    assert (mark.position, mark.in_flight) == (None, 20_000)
    mark.done(0)
    assert (mark.position, mark.in_flight) == (20_000, 0)
