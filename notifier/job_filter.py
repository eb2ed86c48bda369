"""Whether a result of a job is sent: once an image, by category, confidence and camera, and once a cool-down. Pure.

Times are the results' own, so the same log gives the same events in every notifier, whenever it is read.
"""

from notifier.event_format import Result
from trapstream.core.event_filter import category_ids
from trapstream.core.messages import EventFilter, ModelInfo

_MOST_CAMERAS = 10_000
"""Cameras that a cool-down remembers; beyond that the one that is longest ago is forgotten."""
_PIECE_BITS = 12
_PIECE = 1 << _PIECE_BITS

CameraTimes = dict[str | None, float]
"""Camera to a moment, in seconds since 1970."""


class CoolDown:
    """Lets one result of each camera pass in a number of seconds, in a job or over the jobs of a series."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last_sent: CameraTimes = {}
        """The last result of each camera that passed."""
        self._last_matched: CameraTimes = {}
        """The last result of each camera that would have passed without a cool-down."""

    def accept(self, camera: str | None, time: float) -> bool:
        """Whether a result passes. To be called for each one that matches the filter, in the order of the log."""
        _put(self._last_matched, camera, time)
        last = self.last_sent.get(camera)
        # abs: consumers' clocks differ, and one that was years ahead must not silence a camera for years.
        if last is not None and abs(time - last) < self.seconds:
            return False
        _put(self.last_sent, camera, time)
        return True

    def start_job(self) -> None:
        """Another job of the series begins: from here on the last matching result of each camera counts as sent.

        So what passes in a job depends on the jobs just before it, and not on the job with which a stream began: a
        client that reconnects need not read the whole series. A camera may be sent later for that, once a job, and
        never sooner.
        """
        self.last_sent |= self._last_matched


class SeenImages:
    """Which images of a job had a result: a bit for each, in pieces, so that memory follows the results."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}
        self.count = 0

    def add(self, seq: int) -> bool:
        """Adds an image; False if it was there."""
        piece = self._pieces.setdefault(seq >> _PIECE_BITS, bytearray(_PIECE // 8))
        index, bit = divmod(seq & (_PIECE - 1), 8)
        if piece[index] >> bit & 1:
            return False
        piece[index] |= 1 << bit
        self.count += 1
        return True


class JobFilter:
    """An EventFilter applied to the results of one job."""

    def __init__(self, event_filter: EventFilter, model: ModelInfo, cooldown: CoolDown | None = None) -> None:
        """`cooldown`: the series' one, for a job of a series. A category that the model lacks matches no image."""
        self.cooldown = CoolDown(event_filter.cooldown) if cooldown is None else cooldown
        self.seen = SeenImages()
        self._cameras = frozenset(event_filter.cameras)
        self._confidence = model.typical_threshold if event_filter.confidence is None else event_filter.confidence
        self._categories = category_ids(event_filter, model.classes)
        self._needs_detection = bool(
            event_filter.categories or event_filter.confidence is not None or event_filter.cooldown
        )

    def accept(self, result: Result) -> bool:
        """Whether a result is sent. To be called for each one, in the order of the log.

        The first result of an image counts, as in the result file.
        """
        data = result.data
        if not self.seen.add(data.seq):
            return False
        if self._cameras and data.camera not in self._cameras:
            return False
        if not self._needs_detection:
            return True
        if not any(each.conf >= self._confidence and each.category in self._categories for each in result.detections):
            return False
        return not self.cooldown.seconds or self.cooldown.accept(data.camera, data.time)


def _put(times: CameraTimes, camera: str | None, time: float) -> None:
    times.pop(camera, None)  # so that the first key is the one that is longest ago
    times[camera] = time
    while len(times) > _MOST_CAMERAS:
        del times[next(iter(times))]
