"""A partition that this process folds: its store, its threads' work and its jobs, for as long as it is ours."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aggregator.lost import Watch
from aggregator.progress import Progress
from trapstream.core import retry
from trapstream.core.errors import Retryable
from trapstream.results.fold import counts
from trapstream.results.fold_store import Store

T = TypeVar("T")

STORE = "aggregator store"
RESULTS = "result store"


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
        """Jobs whose end was cut off after their final status was stored."""
        self.ending: dict[str, asyncio.Task[None]] = {}
        """Jobs that are being brought to their end."""
        self.watched: dict[str, Watch] = {}
        """Sealed jobs that are not complete."""
        self.waits: str | None = None
        """What the store is waited for, for the users of every job; None while it works."""
        self.store_offset = store.next_offset
        """The next offset to fold: what stands before it is committed to the store, or gone from the log. None until
        a new store has its first offset."""
        self.read_offset = store.next_offset or 0
        """The next offset that Kafka is to hand over."""
        self.gap: int | None = None
        """The offset after a gap that was asked about once."""
        self._store: Store | None = store
        self._thread = thread
        self.load_jobs(store)

    def load_jobs(self, store: Store) -> None:
        """Takes over what the store knows of its jobs. Before the first fold only."""
        for job, stored in store.jobs.items():
            if not stored.end.has_status:
                self.progress[job] = Progress(counts=counts(stored.fold.tally), repeated=stored.fold.repeated)
                continue
            self.progress.pop(job, None)
            self.ended.add(job)
            if not stored.end.dropped:
                self.unfinished.add(job)

    def progress_of(self, job: str) -> Progress:
        """The job's progress, begun if there is none."""
        return self.progress.setdefault(job, Progress())

    def set_message(self, job: str, message: str | None) -> None:
        """Sets what the job's status says is wrong; None once all is well."""
        if job not in self.ended:
            progress = self.progress_of(job)
            progress.changed = progress.changed or progress.message != message
            progress.message = message

    def forget(self, job: str) -> None:
        """Keeps nothing of a job any more."""
        self.progress.pop(job, None)
        self.ended.discard(job)
        self.unfinished.discard(job)

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


async def wait_for_disk(what: str, call: Callable[[], Awaitable[T]], tell: Callable[[str | None], None]) -> T:
    """The value of `call`, however long the disk of `what` refuses: full, read-only, or away. Nothing fails for it.

    `tell` gets a line for users while it refuses, and None once the wait is over, however it ends. `call` itself must
    end in Released where the partition goes to another process meanwhile.
    """
    told = False

    async def attempt() -> T:
        nonlocal told
        try:
            return await call()
        except Retryable as error:
            told = True
            tell(f"waiting for the {what}: {error}")
            raise

    try:
        return await retry.until_back(attempt, what)
    finally:
        if told:
            tell(None)
