"""Reserved shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.lanes import Shares
from trapstream.core.messages import Lane

BOTH = (Lane.LIVE, Lane.BULK)

shares = st.floats(0.02, 0.98)
histories = st.lists(st.sampled_from([BOTH, (Lane.LIVE,), (Lane.BULK,)]), max_size=200)


def lived(share: float, history: list[tuple[Lane, ...]]) -> Shares:
    """Shares that have served `history`."""
    lanes = Shares(share)
    for ready in history:
        lanes.choose(ready)
    return lanes


@given(share=shares, history=histories, rounds=st.integers(1, 400))
def test_each_lane_gets_its_share_under_contention(share: float, history: list[tuple[Lane, ...]], rounds: int) -> None:
    """While both lanes have work, each is served its share, within two images, whatever came before."""
    lanes = lived(share, history)
    live = sum(lanes.choose(BOTH) is Lane.LIVE for _ in range(rounds))
    assert abs(live - share * rounds) <= 2


@given(share=shares, history=histories, lane=st.sampled_from(Lane))
def test_an_idle_lane_leaves_its_share_to_the_other(share: float, history: list[tuple[Lane, ...]], lane: Lane) -> None:
    """A lane that is alone is always served."""
    assert lived(share, history).choose((lane,)) is lane


@given(share=shares, idle=st.integers(1, 2000), lane=st.sampled_from(Lane))
def test_an_idle_lane_saves_nothing_up(share: float, idle: int, lane: Lane) -> None:
    """After a long idle time a lane gets its share and no more: the busy one is not made to wait for it."""
    other = Lane.BULK if lane is Lane.LIVE else Lane.LIVE
    lanes = lived(share, [(other,)] * idle)
    its_share = share if lane is Lane.LIVE else 1 - share
    served = sum(lanes.choose(BOTH) is lane for _ in range(100))
    assert abs(served - 100 * its_share) <= 2


@given(share=shares, history=histories)
def test_no_lane_starves(share: float, history: list[tuple[Lane, ...]]) -> None:
    """A lane that has work is served within the reciprocal of its share, whatever the other does."""
    for lane, its_share in ((Lane.LIVE, share), (Lane.BULK, 1 - share)):
        lanes = lived(share, history)
        longest = int(1 / its_share) + 2
        assert lane in [lanes.choose(BOTH) for _ in range(longest)]


@given(share=shares, history=histories)
def test_only_a_lane_with_work_is_chosen(share: float, history: list[tuple[Lane, ...]]) -> None:
    """The choice is always one of the lanes that have an image."""
    lanes = Shares(share)
    assert all(lanes.choose(ready) in ready for ready in history)


def test_live_goes_first_at_the_start() -> None:
    """With nothing served yet, a camera goes before an archive."""
    assert Shares(0.5).choose(BOTH) is Lane.LIVE


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.1])
def test_a_share_of_all_or_nothing_is_refused(share: float) -> None:
    """A share that would starve a lane is refused."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        Shares(share)


def test_nothing_to_choose_from_is_refused() -> None:
    """Choosing needs a lane that has an image."""
    with pytest.raises(ValueError, match="no lane"):
        Shares(0.8).choose(())
