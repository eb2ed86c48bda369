"""Whether a result is told: once an image, by category, confidence and camera, and once a cool-down. Pure.

The time is the results' own, so that the same log gives the same events, whoever reads it and when.
"""

from notifier.results import Result
from trapstream.core.messages import ModelInfo, Wish
from trapstream.core.wishes import category_ids

_PIECE_BITS = 12
_PIECE = 1 << _PIECE_BITS
_MOST_COOLING = 10_000
"""Cameras remembered."""


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
    """What one who listens has heard."""

    def __init__(self, wish: Wish, model: ModelInfo) -> None:
        """BadWish for a category that the model does not have."""
        self._cameras = frozenset(wish.cameras)
        self._cooldown = wish.cooldown
        self._lowest = model.typical_threshold if wish.confidence is None else wish.confidence
        self._categories = category_ids(wish, model.classes)
        self._all = not wish.categories and wish.confidence is None and not wish.cooldown
        """Also images without a detection."""
        self.seen = Seen()
        self.rang: dict[str | None, float] = {}
        """Camera to when it was told last, of those that are cooling down."""

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
        return self._rings(result.camera, result.time) if self._cooldown else True

    def _rings(self, camera: str | None, now: float) -> bool:
        last = self.rang.get(camera)
        # abs: consumers' clocks differ, and one that was years ahead must not silence a camera for years.
        if last is not None and abs(now - last) < self._cooldown:
            return False
        self.rang[camera] = now
        if len(self.rang) > _MOST_COOLING:
            self.rang = {name: when for name, when in self.rang.items() if abs(now - when) < self._cooldown}
            while len(self.rang) > _MOST_COOLING:
                del self.rang[next(iter(self.rang))]
        return True
