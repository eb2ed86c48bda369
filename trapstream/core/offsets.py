"""The watermark: out-of-order completions to the offset that is safe to commit. Pure."""

from collections import deque


class Watermark:
    """One partition's fetched offsets and which of them are done.

    Offsets may have gaps (transaction markers, deleted records), so the fetched ones are remembered in their order
    rather than counted. `position` is the offset to commit: everything fetched below it is done.
    """

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._open: set[int] = set()
        self._last = -1
        self.position: int | None = None
        """The next offset to read after a restart; None before anything was done."""

    def fetched(self, offset: int) -> None:
        """Takes note of a record, in the order of the log. ValueError if it is not after the last one."""
        if offset <= self._last:
            raise ValueError(f"offset {offset} comes after {self._last}")
        self._last = offset
        self._order.append(offset)
        self._open.add(offset)

    def done(self, offset: int) -> None:
        """The record's result is acknowledged. A second time does no harm; ValueError beyond the last one fetched."""
        if offset > self._last:
            raise ValueError(f"offset {offset} was never fetched")
        self._open.discard(offset)
        while self._order and self._order[0] not in self._open:
            self.position = self._order.popleft() + 1

    @property
    def in_flight(self) -> int:
        """Records fetched and not yet below the watermark."""
        return len(self._order)

    @property
    def open(self) -> int:
        """Records fetched and not done."""
        return len(self._open)
