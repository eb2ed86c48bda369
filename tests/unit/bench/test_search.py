"""The search for the best setting: it finds it, does not measure for ever, and is not led astray by noise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search import MARGIN, Found, Setting, rounds, search

NAMES = ("a", "b", "c")
Problem = tuple[dict[str, dict[int, float]], Setting]


@st.composite
def separable(draw: st.DrawFn) -> Problem:
    """For each axis a factor for each of its values, all of them apart by more than the margin, and a default."""
    factors, default = {}, {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        powers = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5, unique=True))
        factors[name] = {value: 1.05**power for value, power in enumerate(powers, start=1)}
        default[name] = draw(st.sampled_from(sorted(factors[name])))
    return factors, default


def product(factors: dict[str, dict[int, float]], setting: Setting) -> float:
    """The rate of a setting whose axes do not depend on each other."""
    return 100 * math.prod(factors[name][value] for name, value in setting.items())


def measure(factors: dict[str, dict[int, float]], default: Setting, noise: list[float], most: int) -> tuple[Found, int]:
    """A search in which each measurement is off by the next share of `noise`; and how many there were."""
    count = 0

    def rate(setting: Setting) -> float:
        nonlocal count
        count += 1
        return product(factors, setting) * (1 + noise[count % len(noise)])

    return search({name: tuple(values) for name, values in factors.items()}, default, rate, most), count


@given(separable())
def test_it_finds_the_best_of_what_does_not_depend_on_each_other(
    given: Problem,
) -> None:
    """Without noise, and where each axis adds its own factor, the best value of each axis is found."""
    factors, default = given
    found, _ = measure(factors, default, [0.0], 200)
    best = {name: max(values, key=lambda value: values[value]) for name, values in factors.items()}
    assert found.best == best
    assert found.gain == pytest.approx(product(factors, best) / product(factors, default))


noises = st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=50)


@given(separable(), noises, st.integers(6, 60))
def test_it_does_not_measure_more_often_than_it_may(given: Problem, noise: list[float], most: int) -> None:
    """However the rates come, there are no more measurements than allowed."""
    factors, default = given
    found, count = measure(factors, default, noise, most)
    assert count <= most
    assert set(found.best) == set(default)


@given(separable(), noises)
def test_noise_does_not_choose_what_is_worse_by_more_than_the_noise(given: Problem, noise: list[float]) -> None:
    """What is chosen is, in truth, not slower than the default by more than two measurements may differ."""
    factors, default = given
    found, _ = measure(factors, default, noise, 100)
    off = max(map(abs, noise))
    assert product(factors, found.best) >= product(factors, default) * (1 - off) / (1 + off) * (1 - 1e-9)


@given(separable(), noises)
def test_the_default_stays_where_the_gain_is_within_the_spread(given: Problem, noise: list[float]) -> None:
    """Another setting is chosen only where it was faster than the default each time that the two were compared."""
    factors, default = given
    found, _ = measure(factors, default, noise, 100)
    assert (found.best != default) == (bool(found.ratios) and min(found.ratios) > 1)
    assert found.best in (default, found.tried)


def test_a_setting_that_does_not_work_is_left() -> None:
    """A rate of 0 never wins; where the default itself does not work, that is told."""
    found = search({"a": (1, 2, 3)}, {"a": 1}, lambda setting: {1: 10.0, 2: 0.0, 3: 12.0}[setting["a"]], 30)
    assert found.best == {"a": 3}
    flaky = iter([10.0, 12.0, 10.0, 12.0])
    with pytest.raises(ValueError, match="does not work"):
        search({"a": (1, 2)}, {"a": 1}, lambda _: next(flaky, 0.0), 30)
    with pytest.raises(ValueError, match="too few"):
        search({"a": (1, 2)}, {"a": 1}, lambda _: 1.0, 5)


def test_a_gain_below_the_margin_is_left() -> None:
    """Settings that hardly differ cost no comparison in the end: the default stays."""
    found = search({"a": (1, 2)}, {"a": 1}, lambda setting: {1: 1.0, 2: MARGIN - 0.01}[setting["a"]], 30)
    assert (found.best, found.ratios, found.gain) == ({"a": 1}, (), 1.0)


@given(st.integers(0, 200))
def test_rounds_halve(values: int) -> None:
    """Each round has half of those before it, and the last two meet twice; one value alone needs no round."""
    sizes = rounds(values)
    assert sizes == [] if values < 2 else (sizes[0] == values and sizes[-2:] == [2, 2])
    assert sum(sizes) <= 2 * values + 10
