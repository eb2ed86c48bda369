"""Which names came before: exact to 128 bits, at 16 bytes a name, for lists of many millions."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

MOST_RUN = 1 << 20
"""Names in a sorted run; two runs are merged while both are smaller, so that merging needs little room."""


class Seen:
    """A set of names, asked and filled in batches. It keeps digests in sorted runs."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.bytes_]] = []

    def add(self, names: Sequence[bytes]) -> list[bool]:
        """For each name whether it is new, those before it in `names` included; then all of them are known."""
        digests = np.frombuffer(b"".join([blake2b(name, digest_size=16).digest() for name in names]), dtype="S16")
        fresh, first = np.unique(digests, return_index=True)
        for run in self._runs:
            index = np.searchsorted(run, fresh)
            is_new = run[np.minimum(index, len(run) - 1)] != fresh
            fresh, first = fresh[is_new], first[is_new]
        if len(fresh):
            self._add_run(fresh)
        new = np.zeros(len(names), dtype=bool)
        new[first] = True
        flags: list[bool] = new.tolist()
        return flags

    def _add_run(self, run: NDArray[np.bytes_]) -> None:
        while self._runs and len(self._runs[-1]) <= len(run) and 2 * len(run) <= MOST_RUN:
            run = np.sort(np.concatenate((self._runs.pop(), run)))
        self._runs.append(run)
