"""Whether a result is told: once an image, by category, confidence and camera, and once a cool-down. Pure.

The time is the results' own, so that the same log gives the same events, whoever reads it and when.
"""

from notifier.cooling import Cooling
from notifier.results import Result
from trapstream.core.messages import ModelInfo, Wish
from trapstream.core.wishes import category_ids

_PIECE_BITS = 12
_PIECE = 1 << _PIECE_BITS


class Seen:
    """Which images of a job were there: a bit for each, in pieces, so that memory follows what is there."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}
        self.count = 0

    def first(self, seq: int) -> bool:
        """Whether the image comes for the first time; from here on it was there."""
        piece = self._pieces.setdefault(seq >> _PIECE_BITS, bytearray(_PIECE // 8))
        place, bit = divmod(seq & (_PIECE - 1), 8)
        if piece[place] >> bit & 1:
            return False
        piece[place] |= 1 << bit
        self.count += 1
        return True


class Listening:
    """What one who listens has heard of a job."""

    def __init__(self, wish: Wish, model: ModelInfo, cooling: Cooling | None = None) -> None:
        """`cooling`: of the job's series, where it has one. A category that the model does not have is in no image."""
        self.cooling = Cooling(wish.cooldown) if cooling is None else cooling
        self._cameras = frozenset(wish.cameras)
        self._lowest = model.typical_threshold if wish.confidence is None else wish.confidence
        self._categories = category_ids(wish, model.classes)
        self._all = not wish.categories and wish.confidence is None and not wish.cooldown
        """Also images without a detection."""
        self.seen = Seen()

    def hears(self, result: Result) -> bool:
        """Whether this result is told. To be called for each one, in the order of the log.

        The first result of an image counts, here as in the file.
        """
        if not self.seen.first(result.seq):
            return False
        if self._cameras and result.camera not in self._cameras:
            return False
        if self._all:
            return True
        if not any(one.conf >= self._lowest and one.category in self._categories for one in result.found):
            return False
        return self.cooling.rings(result.camera, result.time) if self.cooling.seconds else True
