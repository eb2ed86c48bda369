"""Which names came before: exact to 128 bits, at 16 bytes a name, for lists of many millions."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

MOST_RUN = 1 << 20
"""Names in a sorted run; two runs are merged while both are smaller, so that merging needs little room."""

Run = tuple[NDArray[np.uint64], NDArray[np.uint64]]


class Seen:
    """A set of names, asked and filled in batches. It keeps digests in sorted runs."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def add(self, names: Sequence[bytes]) -> list[bool]:
        """For each name whether it is new, those before it in `names` included; then all of them are known."""
        digests = b"".join([blake2b(name, digest_size=16).digest() for name in names])
        halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
        high, low = np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])
        new = np.ones(len(names), dtype=bool)
        for run in self._runs:
            _strike(new, high, low, run)
        order = np.lexsort((low, high))  # stable: of two equal names the first stays first
        high, low = high[order], low[order]
        twice = np.zeros(len(names), dtype=bool)
        twice[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        new[order[twice]] = False
        keep = new[order]
        if keep.any():
            self._keep((high[keep], low[keep]))
        flags: list[bool] = new.tolist()
        return flags

    def _keep(self, run: Run) -> None:
        while self._runs and len(self._runs[-1][0]) <= len(run[0]) and 2 * len(run[0]) <= MOST_RUN:
            other = self._runs.pop()
            high, low = np.concatenate((other[0], run[0])), np.concatenate((other[1], run[1]))
            order = np.lexsort((low, high))
            run = (high[order], low[order])
        self._runs.append(run)


def _strike(new: NDArray[np.bool_], high: NDArray[np.uint64], low: NDArray[np.uint64], run: Run) -> None:
    """Marks as not new what is in `run`."""
    places = np.searchsorted(run[0], high)
    inside = places < len(run[0])
    hits = np.flatnonzero(inside)[run[0][places[inside]] == high[inside]]
    for hit in hits:
        place = int(places[hit])
        while place < len(run[0]) and run[0][place] == high[hit]:
            if run[1][place] == low[hit]:
                new[hit] = False
                break
            place += 1
