"""When a model of which an instance died may be loaded anew, and what people are told of it."""

import pytest

from trapstream.local.instances import Backoff
from trapstream.local.state import ServedModel


def test_the_first_death_is_answered_at_once_and_each_next_one_later() -> None:
    """The pause doubles up to half a minute while instances die again soon after a load."""
    backoff, now, pauses = Backoff(), 1_000.0, []
    for _ in range(7):
        pauses.append(backoff.wait(now))
        now += pauses[-1]
        backoff.load(now)
    assert pauses == [0, 5, 10, 20, 30, 30, 30]


def test_a_model_that_was_well_for_a_while_is_loaded_at_once_again() -> None:
    backoff = Backoff()
    backoff.load(0.0)
    backoff.load(5.0)
    assert backoff.wait(6.0) > 0
    assert backoff.wait(5.0 + 10.0 + 31.0) == 0
    backoff.load(46.0)
    assert backoff.wait(46.0) == 5.0


@pytest.mark.parametrize(
    ("alive", "times", "words"),
    [
        (4, 0, ""),
        (3, 0, "a@1: only 3 of 4 instances live; it is loaded anew"),
        (0, 2, "a@1: only 0 of 4 instances live; it is loaded anew"),
        (4, 1, "a@1: all 4 instances live; loaded anew once, because instances had died"),
        (4, 7, "a@1: all 4 instances live; loaded anew 7 times, because instances had died"),
    ],
)
def test_people_are_told_in_one_line(alive: int, times: int, words: str) -> None:
    """Of a model that was always well nothing is said."""
    assert ServedModel(model="a@1", instances=4, alive=alive, loaded_anew=times).words == words
