"""How a job ends: its file, its mark, its last status, in steps that a kill may part anywhere."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from aggregator.lease import Lease, Released
from aggregator.patience import RESULTS, STORE, patiently
from aggregator.progress import final_status
from trapstream.core import faults, log, messages
from trapstream.core.errors import Fatal, Retryable
from trapstream.core.messages import Counts, JobSpec
from trapstream.core.result_store import result_path, whole_file
from trapstream.results import entries
from trapstream.results import fold_store as store
from trapstream.results.fold import counts
from trapstream.results.write import write_result

T = TypeVar("T")

Announce = Callable[[str, bytes], Awaitable[None]]
"""Sends a job's status to Kafka and returns once it is acknowledged."""


async def end_job(lease: Lease, spec: JobSpec, results: Path, writer: ThreadPoolExecutor, announce: Announce) -> None:
    """Brings a job to its end, from wherever an earlier attempt was cut off. Returns when nothing is left to do.

    `writer` is the thread that writes files. Released if the partition goes to another process meanwhile.
    """

    def tell(message: str | None) -> None:
        lease.tell(spec.job, message)

    async def stored(call: Callable[[store.Store], T]) -> T:
        return await patiently(lease, STORE, lambda: lease.with_store(call), tell)

    mark = await stored(lambda s: _mark_of(s, spec.job))
    if mark is None:
        stopped = spec.cancelled or spec.failed is not None
        # 0. Where a stopped job is cut, written down once: whenever its file is made, the same results count.
        cut = await stored(lambda s: s.cut(spec.job)) if stopped else None
        if not stopped and spec.total is not None and await stored(lambda s: _there(s, spec)) < spec.total:
            log.get_logger().error("results beyond the job's total", job=spec.job, total=spec.total)
            return
        # 1. The file. Killed in it: a temporary file is left, which the next attempt removes. Killed after it: the
        #    next attempt writes the same bytes over it.
        path = result_path(results, spec.job).absolute()
        loop = asyncio.get_running_loop()
        account, sha256 = await patiently(
            lease, RESULTS, lambda: loop.run_in_executor(writer, write_file, lease, spec, path), tell
        )
        faults.reach("finalise.1")
        # 2. The mark, with the last status in it: from here on late results are ignored, and the job ends as it says.
        #    Killed before it: step 1 again. Killed after it: the next attempt goes on with step 3.
        final = final_status(
            spec,
            account,
            repeated=lease.progress_of(spec.job).repeated,
            now=time.time(),
            location=str(path),
            sha256=sha256,
            cut=cut,
        )
        mark = store.Mark(status=msgspec.Raw(messages.encode(final)))
        await stored(partial(store.Store.set_mark, job=spec.job, mark=mark))
        faults.reach("finalise.2")
        log.get_logger().info("job ended", job=spec.job, state=final.state, images=account.done, file=str(path))
    lease.unfinished.add(spec.job)
    lease.ended.add(spec.job)
    lease.progress.pop(spec.job, None)
    if not mark.announced:
        # 3. The last status. Killed before the next step: it is sent again, the same bytes under the same key.
        await announce(spec.job, bytes(mark.status))
        faults.reach("finalise.3")
        mark = msgspec.structs.replace(mark, announced=True)
        # 4. Kafka has it: write that down.
        await stored(partial(store.Store.set_mark, job=spec.job, mark=mark))
        faults.reach("finalise.4")
    if not mark.dropped:
        # 5. The entries go, a few at a time between two folds. Killed in it: the next attempt drops the rest.
        while await stored(lambda s: s.drop_some(spec.job)):
            faults.reach("finalise.within-5")
        await stored(partial(store.Store.set_mark, job=spec.job, mark=msgspec.structs.replace(mark, dropped=True)))
        faults.reach("finalise.5")
    lease.unfinished.discard(spec.job)


def write_file(lease: Lease, spec: JobSpec, path: Path) -> tuple[Counts, str]:
    """Writes a job's result file from its store. The account and the file's sha256.

    Retryable if a disk refuses; Released once the partition is not ours any more.
    """
    for stale in path.parent.glob(f".{path.name}.*.tmp"):  # of an attempt that was killed
        stale.unlink(missing_ok=True)
    account = counts(entries.read_tally(lease.folder, spec.job, spec.total))
    found = entries.read_entries(lease.folder, spec.job, spec.total)

    def ours() -> Iterator[bytes]:
        for number, entry in enumerate(found):
            if number % 1000 == 0 and lease.released.is_set():
                raise Released
            yield entry

    try:
        with whole_file(path) as file:
            write_result(spec, account, ours(), file)
            faults.reach("finalise.within-1")
    except OSError as error:
        raise Retryable(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Fatal(f"{lease.folder} is damaged ({error}); move it away, and it is made again from the log") from error
    return account, file.sha256


def _mark_of(opened: store.Store, job: str) -> store.Mark | None:
    stored = opened.jobs.get(job)
    return stored.mark if stored else None


def _there(opened: store.Store, spec: JobSpec) -> int:
    stored = opened.jobs.get(spec.job)
    return 0 if stored is None or spec.total is None else stored.fold.below(spec.total)
