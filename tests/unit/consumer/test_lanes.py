"""Reserved shares, and how deep images queue at the detector."""

import math

from hypothesis import given
from hypothesis import strategies as st

from consumer.lanes import MOST_SECONDS, Shares, depth
from trapstream.core.messages import Lane

BOTH = (Lane.LIVE, Lane.BULK)
BATCH = 8

shares = st.floats(0.05, 0.95)
memories = st.integers(0, 32)
served = st.tuples(st.sampled_from([BOTH, (Lane.LIVE,), (Lane.BULK,)]), st.integers(1, BATCH))
histories = st.lists(served, max_size=100)


def serve(lanes: Shares, ready: tuple[Lane, ...], images: int = 1) -> Lane:
    """One turn."""
    lane = lanes.choose(ready)
    lanes.charge(lane, images)
    return lane


def lived(share: float, history: list[tuple[tuple[Lane, ...], int]], memory: int = 0) -> Shares:
    """Shares that have served `history`."""
    lanes = Shares(share, memory)
    for ready, images in history:
        serve(lanes, ready, images)
    return lanes


def share_of(share: float, lane: Lane) -> float:
    """What the lane should have."""
    return share if lane is Lane.LIVE else 1 - share


@given(shares, histories, memories, st.lists(st.integers(1, BATCH), min_size=1, max_size=300))
def test_each_lane_gets_its_share_under_contention(
    share: float, history: list[tuple[tuple[Lane, ...], int]], memory: int, turns: list[int]
) -> None:
    """While both lanes have work each is served its share of the images, in batches of any size and whatever came
    before, but for a batch of each and what it is owed."""
    lanes, live, total = lived(share, history, memory), 0, 0
    for images in turns:
        live += images if serve(lanes, BOTH, images) is Lane.LIVE else 0
        total += images
    assert abs(live - share * total) <= 2 * BATCH + memory + 1e-6


@given(shares, histories, memories, st.sampled_from(Lane))
def test_an_idle_lane_leaves_its_share_to_the_other(
    share: float, history: list[tuple[tuple[Lane, ...], int]], memory: int, lane: Lane
) -> None:
    """A lane that is alone is always served."""
    assert lived(share, history, memory).choose((lane,)) is lane


@given(shares, st.integers(1, 2000), memories, st.sampled_from(Lane))
def test_an_idle_lane_saves_next_to_nothing_up(share: float, idle: int, memory: int, lane: Lane) -> None:
    """After an idle time of any length a lane gets its share and its memory, no more: the busy one does not pay."""
    other = Lane.BULK if lane is Lane.LIVE else Lane.LIVE
    lanes = lived(share, [((other,), 1)] * idle, memory)
    got = sum(serve(lanes, BOTH) is lane for _ in range(200))
    assert got <= 200 * share_of(share, lane) + memory + 2


@given(shares, st.lists(st.integers(1, 4), min_size=50, max_size=200), st.sampled_from(Lane))
def test_a_lane_that_has_nothing_for_a_moment_loses_nothing(share: float, gaps: list[int], lane: Lane) -> None:
    """A lane that lacks an image at some turns, as a stage before it is slow, has its share all the same."""
    other = Lane.BULK if lane is Lane.LIVE else Lane.LIVE
    mine = share_of(share, lane)
    lanes, got, turns = Shares(share, memory=BATCH), 0, 0
    for gap in gaps:
        if gap == 1 and mine < 0.5:  # it lacks one at every fourth turn or so, and needs less than that leaves
            serve(lanes, (other,))
        else:
            got += serve(lanes, BOTH) is lane
        turns += 1
    if mine <= 0.3 and gaps.count(1) <= len(gaps) / 2:
        assert got >= mine * turns - BATCH - 2


@given(shares, histories, memories)
def test_no_lane_starves(share: float, history: list[tuple[tuple[Lane, ...], int]], memory: int) -> None:
    """A lane that has work is served after what the other's share of some batches is, whatever the other does."""
    for lane in Lane:
        lanes = lived(share, history, memory)
        mine, other = share_of(share, lane), 1 - share_of(share, lane)
        longest = int((BATCH + memory + 1) * max(other / mine, mine / other)) + BATCH + memory + 2
        assert lane in [serve(lanes, BOTH) for _ in range(longest)]


@given(shares, histories, memories)
def test_only_a_lane_with_work_is_chosen(
    share: float, history: list[tuple[tuple[Lane, ...], int]], memory: int
) -> None:
    """The choice is always one of the lanes that have an image, and looking changes nothing."""
    lanes = Shares(share, memory)
    for ready, images in history:
        assert lanes.choose(ready) in ready
        assert lanes.choose(ready) is serve(lanes, ready, images)


@given(shares, st.integers(0, 1000), st.lists(st.integers(0, BATCH), max_size=50))
def test_a_rare_live_image_goes_at_once(share: float, before: int, between: list[int]) -> None:
    """A live image that comes less often than its share allows is always next, however many others were served."""
    lanes = lived(share, [((Lane.BULK,), 1)] * before, memory=BATCH)
    least = math.ceil((1 - share) / share)
    for images in between:
        assert serve(lanes, BOTH) is Lane.LIVE
        serve(lanes, (Lane.BULK,), least + images)


def test_live_goes_first_at_the_start() -> None:
    """With nothing served yet, a camera goes before an archive."""
    assert Shares(0.5).choose(BOTH) is Lane.LIVE


machines = st.tuples(st.integers(1, 16), st.integers(1, 64), st.integers(1, 64), st.floats(0, 100))


@given(machines)
def test_no_instance_is_without_work_and_none_has_more_than_it_takes_twice(
    machine: tuple[int, int, int, float],
) -> None:
    """Each instance has an image at least, and never more than two of its largest batches; a request fits in."""
    instances, max_batch, batch, seconds = machine
    found = depth(instances, max_batch, batch, seconds)
    assert instances <= found.in_flight <= 2 * max_batch * instances
    assert 1 <= found.request <= min(batch, max_batch)
    each = found.in_flight // instances
    assert each == 1 or 2 * found.request <= each, "an instance waits for the way there and back"


@given(machines)
def test_what_is_at_the_server_takes_no_longer_than_a_fixed_time(machine: tuple[int, int, int, float]) -> None:
    """Of the images there an instance has so many as it does in that time, or one."""
    instances, max_batch, batch, seconds = machine
    each = depth(instances, max_batch, batch, seconds).in_flight // instances
    assert each == 1 or each * seconds <= MOST_SECONDS + seconds / 2 + 1e-9


def test_quick_images_fill_the_largest_batches_twice() -> None:
    """Where images cost next to nothing the server has one batch at work and the next one at hand."""
    assert depth(instances=2, max_batch=8, batch=8, seconds=0.001) == (8, 32)
