"""When an image without a result is lost: none can come any more. Pure.

A consumer commits an offset only once all references below it have their results in the log. So where a lane is read
up to where it ended at some moment, and the log of results is folded up to where it ended after that, every result of
a reference that stood in the lane at that moment has been folded. An image that lacks its result then will not get it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trapstream.core.messages import Lane

Offsets = Mapping[int, int]
"""Partition to offset."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Kafka's offsets, asked for in this order, so that no later figure is older than an earlier one."""

    read: Mapping[Lane, Offsets]
    """All references of a lane below these have an acknowledged result, or are gone from the log."""
    results: Offsets
    """Where `detections` ended after that."""
    ends: Mapping[Lane, Offsets]
    """Where the lanes ended after that."""


@dataclass(slots=True)
class Watch:
    """One job whose references are all in its lane, looked at now and then."""

    since: float
    """When it began, or when its missing images were last published: seconds since 1970."""
    lane: Offsets | None = None
    """Where its lane ended at the first look."""
    results: int | None = None
    """Where its partition of results ended once the lane was read so far."""

    def update(self, figures: Figures, lane: Lane, partition: int, folded: int) -> bool:
        """Takes the newest figures. True once all results of what was in the lane at the first look are folded.

        `partition`: of the job's results. `folded`: the offset up to which it is.
        """
        if self.lane is None:
            self.lane = figures.ends[lane]
        if self.results is None and all(figures.read[lane].get(part, 0) >= end for part, end in self.lane.items()):
            self.results = figures.results[partition]
        return self.results is not None and folded >= self.results
