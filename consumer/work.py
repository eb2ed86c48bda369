"""The values that travel between the consumer's stages."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from consumer.slabs import Slab
from trapstream.core.errors import Reason
from trapstream.core.messages import ImageRef, JobSpec, Lane, ModelInfo, Outcome
from trapstream.images.letterbox import Letterbox
from trapstream.images.shot import Shot


@dataclass(slots=True)
class Times:
    """How long one image spent where, by a clock that runs on: whatever it did belongs to one of the stages."""

    spent: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage, a field of StageTimes or `emit`."""
    since: float = field(default_factory=time.perf_counter)
    """When the last stage ended."""
    put_off: float | None = None
    """When it first had to wait for its host or its model, by the monotonic clock in seconds."""

    def end(self, stage: str) -> None:
        """All since the last end was this stage."""
        now = time.perf_counter()
        self.spent[stage] = self.spent.get(stage, 0.0) + 1000 * (now - self.since)
        self.since = now


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """One reference on its way through the stages."""

    ref: ImageRef
    spec: JobSpec
    lane: Lane
    done: Callable[[], None]
    """Marks the reference's offset; called once its result is acknowledged, or once it is not wanted."""
    wanted: Callable[[], bool] = lambda: True
    """False once the reference is another process's: it will be read again there."""
    cancelled: Callable[[], bool] = lambda: False
    """Whether its job was cancelled since it was taken: then nobody waits for its answer."""
    hold: Callable[[int], None] = lambda _: None
    """Told 1 when the task begins to wait for its host or its model, -1 when it goes on: no drain waits for it."""
    times: Times = field(default_factory=Times)
    shot: Shot | None = None
    """Of a live image that is decoded: what its EXIF data says of it."""

    def drop_if_cancelled(self) -> bool:
        """Ends the task if its job was cancelled. Whether it did."""
        cancelled = self.cancelled()
        if cancelled:
            self.done()
        return cancelled


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image's encoded bytes."""

    task: Task
    data: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Letterboxed images of one model and one shape, side by side in a slab: one request to the detector."""

    slab: Slab
    offset: int
    """Bytes from the slab's beginning."""
    shape: tuple[int, int, int]
    """Height, width, 3; uint8."""
    tasks: tuple[Task, ...]
    letterboxes: tuple[Letterbox, ...]

    @property
    def model(self) -> ModelInfo:
        """Of all its images."""
        return self.tasks[0].spec.model

    def parts(self, most: int) -> "list[Group]":
        """The same images in groups of at most `most`, as even as may be."""
        count = -(-len(self.tasks) // most)
        ends = [len(self.tasks) * number // count for number in range(count + 1)]
        return [
            Group(
                slab=self.slab,
                offset=self.offset + begin * self.image_bytes,
                shape=self.shape,
                tasks=self.tasks[begin:end],
                letterboxes=self.letterboxes[begin:end],
            )
            for begin, end in pairwise(ends)
        ]

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        height, width, channels = self.shape
        return height * width * channels


@dataclass(frozen=True, slots=True)
class Answer:
    """One image's end: what will be emitted."""

    task: Task
    outcome: Outcome
    reason: Reason | None
    entry: bytes
