"""Slabs: where decoded pixels lie until the detector has answered.

A slab is a piece of system shared memory that Triton maps too, so pixels are written once and never sent. There is a
fixed number of them, and a batch is decoded once one is free: that is the backpressure from the detector. It is free
again once the last request that reads it is answered. Where the server is on another machine a slab is plain memory of
the same shape.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trapstream.core.messages import Lane
from trapstream.core.meters import Meter

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # the kernel's own name for it, not a temporary folder


class Slab:
    """One piece of memory. It grows to the largest batch that it had to hold."""

    def __init__(self, name: str | None, lane: Lane = Lane.BULK) -> None:
        self._base = name
        self.lane = lane
        self._generation = 0
        self._map: mmap.mmap | None = None
        self.name: str | None = None
        """The region's name in /dev/shm; None for plain memory."""
        self.size = 0
        """Bytes."""
        self.readers = 0
        """Requests that are not answered yet."""

    def hold(self, size: int) -> None:
        """Makes space for `size` bytes. What was inside may be lost. OSError if the memory is not to be had."""
        if size <= self.size:
            return
        self.close()
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._base is None:
            self._map = mmap.mmap(-1, size)
        else:
            # Opened by hand: multiprocessing's tracker would unlink a segment that a crashed peer still reads.
            self._generation += 1
            self.name = f"{self._base}-{self._generation}"
            handle = os.open(SHARED_MEMORY / self.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(handle, 0, size)  # a full /dev/shm is an error here, not a SIGBUS later
                self._map = mmap.mmap(handle, size)
            finally:
                os.close(handle)
        self.size = size

    def pixels(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A uint8 view of the bytes from `offset`, in `shape`."""
        assert self._map is not None
        count = int(np.prod(shape))
        return np.frombuffer(self._map, np.uint8, count, offset).reshape(shape)

    def close(self) -> None:
        """Gives the memory back. Views that still exist keep it mapped until they are gone."""
        if self.name is not None:
            (SHARED_MEMORY / self.name).unlink(missing_ok=True)
            self.name = None
        self._map = None
        self.size = 0


class SlabPool:
    """A fixed number of slabs for each lane, handed out and given back: neither lane waits for the other's."""

    def __init__(self, count: int, prefix: str | None, freed: Callable[[], None] = lambda: None) -> None:
        """`prefix` begins the regions' names; None keeps them in plain memory. `freed` hears of each that is free."""
        if prefix is not None:
            sweep(prefix)
        self._free: dict[Lane, list[Slab]] = {
            lane: [
                Slab(None if prefix is None else f"{prefix}-{os.getpid()}-{lane}{number}", lane)
                for number in range(count)
            ]
            for lane in Lane
        }
        self._all = [slab for slabs in self._free.values() for slab in slabs]
        self._freed = freed
        self.meter = Meter(count)
        """The slabs in use, and the images that lay in them."""

    def has(self, lane: Lane) -> bool:
        """Whether a slab of the lane is free."""
        return bool(self._free[lane])

    def take(self, lane: Lane) -> Slab:
        """A free slab of the lane. IndexError if there is none."""
        slab = self._free[lane].pop()
        self.meter.work.begin()
        return slab

    def share(self, slab: Slab, requests: int) -> None:
        """So many requests are going to read it, each of which is released; with none it is free at once."""
        slab.readers = requests + 1
        self.release(slab)

    def release(self, slab: Slab) -> None:
        """One request less reads it; after the last one it is free."""
        slab.readers -= 1
        if slab.readers == 0:
            self.meter.work.end()
            self._free[slab.lane].append(slab)
            self._freed()

    def close(self) -> None:
        """Gives all memory back."""
        for slab in self._all:
            slab.close()


def sweep(prefix: str) -> None:
    """Removes regions that a killed process of the same name left behind."""
    for path in SHARED_MEMORY.glob(f"{prefix}-*"):
        path.unlink(missing_ok=True)
