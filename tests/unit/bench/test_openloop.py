"""An open loop's rules: when images are due, and what their latencies are."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from bench.openloop import Answers, due

rates = st.floats(0.5, 2000)
bursts = st.integers(1, 50)


@given(rates, bursts, st.integers(1, 1000))
def test_images_are_due_at_the_rate_and_in_bursts(rate: float, burst: int, count: int) -> None:
    """They are due in bursts of the size asked for, one burst after the other, at the rate on average."""
    dues = [due(seq, rate, burst) for seq in range(count)]
    assert dues == sorted(dues)
    assert [dues.count(at) for at in dict.fromkeys(dues)][:-1] == [burst] * ((count - 1) // burst)
    assert all(at <= seq / rate < at + burst / rate * (1 + 1e-9) for seq, at in enumerate(dues))


@given(rates, bursts, st.floats(0, 3), st.floats(0.01, 5))
def test_a_stall_costs_those_who_came_meanwhile(rate: float, burst: int, stall: float, end: float) -> None:
    """Where nothing is answered until `stall`, each image that was due before then waited from its due time on."""
    dues = [due(seq, rate, burst) for seq in range(100)]
    found = Answers(dues, {seq: max(at, stall) for seq, at in enumerate(dues)}, dues[-1] + end)
    assert found.latencies(warm=0.0) == [max(0.0, stall - at) for at in dues]
    assert found.unanswered == 0


@given(rates, st.sets(st.integers(0, 99)), st.floats(0.01, 5))
def test_what_is_never_answered_counts_as_what_it_waited(rate: float, answered: set[int], end: float) -> None:
    """An image without an answer is not left out: its latency is what it had waited when nobody waited any more."""
    dues = [due(seq, rate) for seq in range(100)]
    ended = dues[-1] + end
    found = Answers(dues, {seq: dues[seq] for seq in answered}, ended)
    latencies = found.latencies(warm=0.0)
    assert len(latencies) == 100
    assert all(latencies[seq] == (0 if seq in answered else ended - at) for seq, at in enumerate(dues))
    assert found.unanswered == 100 - len(answered)


@given(st.floats(1, 500), st.floats(0.1, 1.0))
def test_a_system_that_falls_behind_shows_its_own_rate(rate: float, part: float) -> None:
    """Of a system that does a part of what is offered, the rate is that part, and the latencies grow."""
    count = round(10 * rate) + 200
    dues = [due(seq, rate) for seq in range(count)]
    found = Answers(dues, {seq: (seq + 1) / (part * rate) for seq in range(count)}, 1e9)
    window = dues[-1] - 1.0
    assert math.isclose(found.rate(warm=1.0), part * rate, rel_tol=0.01, abs_tol=2 / window)
    latencies = found.latencies(warm=0.0)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(latencies))
