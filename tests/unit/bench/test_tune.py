"""What a search for the best settings tries, and what it keeps."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import tune
from bench.plan import Plan
from bench.search import Found
from trapstream.local import entry, tuned
from trapstream.local.tuned import INSTANCES, NAMES, Tuned

CORES = len(os.sched_getaffinity(0))


@given(st.integers(1, 256), st.booleans())
def test_what_is_tried_has_the_usual_settings_in_it(cores: int, quick: bool) -> None:
    """On any machine each axis holds values that a stack can run with, few of them; the usual setting is whole."""
    usual, axes = tune.usual(cores), tune.axes(cores, quick)
    assert set(usual) == set(NAMES) >= set(axes)
    for values in axes.values():
        assert 1 <= len(values) <= 4
        assert min(values) >= 1
    assert max(axes[INSTANCES]) <= 16
    assert max(axes["TRAPSTREAM_BATCH"]) <= entry.Serving().max_batch_size


def test_the_callers_settings_are_not_the_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says is no default: a search that began there would keep it for all."""
    before = tune.usual(2)
    for name in NAMES:
        monkeypatch.setenv(name, "7")
    assert tune.usual(2) == before


def kept(tmp_path: Path, rates: tuple[float, ...], defaults: tuple[float, ...]) -> tuple[Tuned | None, str]:
    """What stands in a home with older settings after a search with these rates in the end, and what was said."""
    default = tune.usual(CORES)
    tried = default | {"TRAPSTREAM_BATCH": 4} if rates else default
    faster = bool(rates) and min(one / other for one, other in zip(rates, defaults, strict=True)) > 1
    found = Found(tried if faster else default, tried, defaults, rates)
    tuned.write(tmp_path, Tuned(model="older@1", cores=CORES, gain=2.0, settings={"TRAPSTREAM_BATCH": 2}))
    said: list[str] = []
    plan = Plan(work=tmp_path, home=tmp_path, quick=True, say=said.append, tell=lambda *_: None)
    tune.keep(plan, found, default)
    return tuned.read(tmp_path), " ".join(said)


def test_what_is_faster_each_time_is_kept_for_the_next_start(tmp_path: Path) -> None:
    """The settings replace older ones, with the model, the cores and the gain; it is said what they are and gain."""
    found, said = kept(tmp_path, (120.0, 130.0, 110.0), (100.0, 100.0, 100.0))
    settings = tune.usual(CORES) | {"TRAPSTREAM_BATCH": 4}
    assert found == Tuned(model="demonstration@1", cores=CORES, gain=1.2, settings=settings)
    assert "BATCH=4 gives 1.20 x (1.10 to 1.30)" in said


@pytest.mark.parametrize(
    ("rates", "words"),
    [((120.0, 130.0, 99.0), "1.20 x, which is within the spread (0.99 to 1.30)"), ((), "nothing that was tried")],
)
def test_a_gain_within_the_spread_leaves_the_usual_settings(
    tmp_path: Path, rates: tuple[float, ...], words: str
) -> None:
    """Where it was not faster each time, or nothing was found, the usual settings stay, and older ones go."""
    found, said = kept(tmp_path, rates, (100.0,) * len(rates))
    assert found is None
    assert words in said
    assert "the usual settings stay" in said
    assert "older settings are removed" in said
