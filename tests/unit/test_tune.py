"""What a search for the best settings tries."""

from hypothesis import given
from hypothesis import strategies as st

from bench import tune
from trapstream.local import entry
from trapstream.local.tuned import INSTANCES, NAMES


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
