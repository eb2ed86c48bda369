"""The watermark: out-of-order completions to the offset that is safe to commit. Pure."""

from typing import NamedTuple


class _Before(NamedTuple):
    """What was fetched before an open record."""

    records: int
    position: int | None
    """The offset to commit while this record is the first that is open."""


class Watermark:
    """One partition's fetched offsets and which of them are done.

    Offsets may have gaps (transaction markers, deleted records), so each open one remembers what came before it. What
    is done is not remembered: a record that stays open for days costs no memory for those behind it.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Before] = {}
        """In the order of the log."""
        self._last = -1
        self._count = 0
        self.position: int | None = None
        """The next offset to read after a restart; None before anything was done."""

    def fetched(self, offset: int) -> None:
        """Takes note of a record, in the order of the log. ValueError if it is not after the last one."""
        if offset <= self._last:
            raise ValueError(f"offset {offset} comes after {self._last}")
        self._open[offset] = _Before(self._count, self._last + 1 if self._count else None)
        self._last = offset
        self._count += 1

    def done(self, offset: int) -> None:
        """The record's result is acknowledged. A second time does no harm; ValueError beyond the last one fetched."""
        if offset > self._last:
            raise ValueError(f"offset {offset} was never fetched")
        if self._open.pop(offset, None) is not None:
            first = self._first()
            self.position = self._last + 1 if first is None else first.position

    @property
    def in_flight(self) -> int:
        """Records fetched and not yet below the watermark."""
        first = self._first()
        return 0 if first is None else self._count - first.records

    @property
    def open(self) -> int:
        """Records fetched and not done."""
        return len(self._open)

    def _first(self) -> _Before | None:
        return next(iter(self._open.values()), None)
