"""When an image without a result is lost, since none can come any more, and what is sent for it then. Pure.

A consumer commits an offset only once all references below it have their results in the log. So where a lane is read
up to where it ended at some moment, and the log of results is folded up to where it ended after that, every result of
a reference that stood in the lane at that moment has been folded. An image that lacks its result then will not get it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from trapstream.core import messages
from trapstream.core.errors import Reason
from trapstream.core.messages import ImageRef, ImageResult, JobSpec, Lane, Outcome, StageTimes
from trapstream.core.result_store import ManifestLine
from trapstream.results.entry import failure_entry

ATTEMPTS = 2
"""How often missing images are published again."""

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


class Missing(NamedTuple):
    """An image of the manifest without a result."""

    seq: int
    line: ManifestLine


_decoder = msgspec.json.Decoder(ManifestLine)


def missing_of(first: int, lines: Sequence[bytes], seen: bytes) -> list[Missing]:
    """The images of a piece that lack their result. `lines`: the manifest's from `first` on; `seen`: a bit for each."""
    return [
        Missing(first + number, _decoder.decode(line))
        for number, line in enumerate(lines)
        if not seen[number >> 3] & (1 << (number & 7))
    ]


def reference(spec: JobSpec, missing: Missing) -> bytes:
    """The image's reference, as the producer made it."""
    line = missing.line
    return messages.encode(
        ImageRef(
            job=spec.job,
            seq=missing.seq,
            file=line.file,
            uri=line.uri,
            meta=line.meta,
            captured=line.captured or msgspec.UNSET,
            arrived=line.arrived or msgspec.UNSET,
        )
    )


def never_answered(spec: JobSpec, missing: Missing) -> bytes:
    """The result that the image is lost."""
    return messages.encode(
        ImageResult(
            job=spec.job,
            seq=missing.seq,
            outcome=Outcome.FAILED,
            reason=Reason.LOST,
            entry=msgspec.Raw(failure_entry(missing.line.file, missing.line.meta, Reason.LOST)),
            model=spec.model.label,
            ms=StageTimes(),
        )
    )
