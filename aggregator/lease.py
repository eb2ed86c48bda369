"""A partition that this process folds: its store, its threads' work and its jobs, for as long as it is ours."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aggregator.lost import Watch
from aggregator.progress import Progress
from trapstream.results.fold_store import Store

T = TypeVar("T")


class Released(Exception):
    """The partition is no longer ours: whatever was being done for it ends without effect."""


class Lease:
    """One partition from its assignment to its revocation. Assigned again, it is another lease."""

    def __init__(self, partition: int, folder: Path, store: Store, thread: ThreadPoolExecutor) -> None:
        self.partition = partition
        self.folder = folder
        self.released = threading.Event()
        """Set once the partition is not ours any more; read by every thread."""
        self.progress: dict[str, Progress] = {}
        self.ended: set[str] = set()
        """Jobs whose end stands in the store."""
        self.unfinished: set[str] = set()
        """Jobs whose end was cut off after its mark."""
        self.ending: dict[str, asyncio.Task[None]] = {}
        """Jobs that are being brought to their end."""
        self.watched: dict[str, Watch] = {}
        """Sealed jobs that are not complete."""
        self.store_offset = store.next_offset
        """The next offset to fold: what stands before it is committed to the store, or gone from the log. None until
        a new store has its place."""
        self.place = store.next_offset or 0
        """The next offset that Kafka is to hand over."""
        self.gap: int | None = None
        """The offset after a gap that was asked about once."""
        self._store: Store | None = store
        self._thread = thread
        self.look(store)

    def look(self, store: Store) -> None:
        """Takes over what the store knows of its jobs. Before the first fold only."""
        for job, stored in store.jobs.items():
            if stored.mark is None:
                self.progress[job] = Progress(tally=dict(stored.fold.tally), repeated=stored.fold.repeated)
                continue
            self.progress.pop(job, None)
            self.ended.add(job)
            if not stored.mark.dropped:
                self.unfinished.add(job)

    def progress_of(self, job: str) -> Progress:
        """The job's progress, begun if there is none."""
        return self.progress.setdefault(job, Progress())

    def tell(self, job: str, message: str | None) -> None:
        """Sets what the job's status says is wrong; None once all is well."""
        if job not in self.ended:
            progress = self.progress_of(job)
            progress.changed = progress.changed or progress.message != message
            progress.message = message

    def tell_all(self, message: str | None) -> None:
        """As `tell`, for every job of the partition."""
        for job in list(self.progress):
            self.tell(job, message)

    async def with_store(self, call: Callable[[Store], T]) -> T:
        """`call` with the store, in the one thread that writes. Released if the partition is gone.

        A store that refused is opened anew before the next call, since its memory is ahead of the disk.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, call)

    def _call(self, call: Callable[[Store], T]) -> T:
        if self.released.is_set():
            raise Released
        if self._store is None:
            self._store = Store(self.folder)
        try:
            return call(self._store)
        except BaseException:
            self._store.close()
            self._store = None
            raise

    async def close(self) -> None:
        """Gives the partition up: after what the thread is doing now, nothing is written any more."""
        self.released.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)

    def _shut(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
