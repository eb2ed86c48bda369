"""When an image is lost: only once no answer can come any more."""

from hypothesis import given
from hypothesis import strategies as st

from aggregator.lost import Figures, Watch
from trapstream.core.messages import Lane

EVENTS = st.lists(st.sampled_from(["publish", "answer", "commit", "fold", "look"]), max_size=60)


@given(EVENTS, st.integers(0, 5))
def test_no_answer_is_on_its_way(events: list[str], other: int) -> None:
    """Whatever the order of things, once the watch is over every reference of its first look is answered and folded."""
    published, answered, committed, folded = 1, 0, 0, 0
    watch, first = Watch(since=0.0), None
    for event in events:
        if event == "publish":
            published += 1  # other jobs go on
        elif event == "answer":
            answered = min(answered + 1, published)
        elif event == "commit":
            committed = answered
        elif event == "fold":
            folded = min(folded + 1, answered)
        else:
            figures = Figures(
                read={Lane.BULK: {0: committed}, Lane.LIVE: {0: 0}},
                results={3: answered + other},
                ends={Lane.BULK: {0: published}, Lane.LIVE: {0: 9}},
            )
            first = published if first is None else first
            if watch.update(figures, Lane.BULK, 3, folded + other):
                assert folded >= first


def test_an_empty_lane_is_read() -> None:
    """With nothing in the lane and nothing to fold the watch is over at its first look."""
    figures = Figures(read={Lane.BULK: {0: 7}}, results={0: 4}, ends={Lane.BULK: {0: 7}})
    assert Watch(since=0.0).update(figures, Lane.BULK, 0, folded=4)
    assert not Watch(since=0.0).update(figures, Lane.BULK, 0, folded=3)
