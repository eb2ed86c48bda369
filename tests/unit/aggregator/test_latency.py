"""How long results wait for their fold."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aggregator.reports import observe_latency
from tests.unit.values import job_spec
from trapstream.core import metrics
from trapstream.core.messages import Lane

SPECS = {"one": job_spec(job="one", lane=Lane.LIVE), "many": job_spec(job="many", lane=Lane.BULK)}


def seen(lane: Lane) -> tuple[float, float]:
    """How many were taken down for the lane, and the sum of their seconds."""
    samples = {
        sample.name.rpartition("_")[2]: sample.value
        for metric in metrics.STAGE_SECONDS.collect()
        for sample in metric.samples
        if sample.labels["lane"] == lane and sample.labels["stage"] == "fold" and "le" not in sample.labels
    }
    return samples.get("count", 0.0), samples.get("sum", 0.0)


@given(st.lists(st.sampled_from([b"one", b"many", b"unknown", None]), min_size=1, max_size=400))
def test_some_of_a_batch_are_taken_down_under_their_lane(keys: list[bytes | None]) -> None:
    """All of a small batch, 32 at the most of a large one, each for its job's lane; who is unknown is passed over."""
    records: list[Any] = [SimpleNamespace(key=key, timestamp=998_000) for key in keys]
    before = {lane: seen(lane) for lane in Lane}
    observe_latency(records, SPECS, now=1_000.0)
    counts = {lane: seen(lane)[0] - before[lane][0] for lane in Lane}
    seconds = {lane: seen(lane)[1] - before[lane][1] for lane in Lane}
    assert sum(counts.values()) <= 32
    assert seconds == {lane: 2.0 * count for lane, count in counts.items()}
    if len(keys) <= 32:
        assert counts == {Lane.LIVE: keys.count(b"one"), Lane.BULK: keys.count(b"many")}
