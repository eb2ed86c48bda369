"""How a job ends: its file, then its final status in the store and in Kafka, in steps that a kill may part anywhere."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from aggregator.lease import RESULTS, STORE, Lease, Released, wait_for_disk
from aggregator.progress import Progress, status_of
from trapstream.core import faults, log, messages
from trapstream.core.errors import Fatal, Retryable
from trapstream.core.messages import Counts, JobSpec
from trapstream.core.result_store import result_path, whole_file
from trapstream.results import fold_reader
from trapstream.results.fold_store import JobEnd, Store
from trapstream.results.write import write_result

T = TypeVar("T")

Announce = Callable[[str, bytes], Awaitable[None]]
"""Sends a job's status to Kafka and returns once it is acknowledged."""


async def end_job(lease: Lease, spec: JobSpec, results: Path, writer: ThreadPoolExecutor, announce: Announce) -> None:
    """Brings a job to its end, from wherever an earlier attempt was cut off. Returns when nothing is left to do.

    `writer` is the thread that writes files. Released if the partition goes to another process meanwhile.
    """

    def tell(message: str | None) -> None:
        lease.set_message(spec.job, message)

    async def stored(call: Callable[[Store], T]) -> T:
        return await wait_for_disk(STORE, lambda: lease.with_store(call), tell)

    async def keep(**changes: object) -> JobEnd:
        return await stored(lambda s: s.change_end(spec.job, **changes))

    end = await stored(lambda s: s.job(spec.job).end)
    if not end.has_status:
        stopped, total = spec.cancelled or spec.failed is not None, spec.total or 0
        # 0. Where a stopped job is cut, written down once: whenever its file is made, the same results count.
        if stopped:
            end = await stored(lambda s: s.cut(spec.job))
        elif await stored(lambda s: s.job(spec.job).fold.below(total)) < total:
            log.get_logger().error("results beyond the job's total", job=spec.job, total=total)
            return
        # 1. The file. Killed in it: a temporary file is left, which the next attempt removes. Killed after it: the
        #    next attempt writes the same bytes over it.
        path = result_path(results, spec.job).absolute()
        loop = asyncio.get_running_loop()
        account, sha256 = await wait_for_disk(
            RESULTS, lambda: loop.run_in_executor(writer, write_file, lease, spec, path), tell
        )
        faults.reach("finalise.1")
        # 2. The final status in the store: from here on late results are ignored, and the job ends as it says.
        #    Killed before it: step 1 again. Killed after it: the next attempt goes on with step 3.
        progress = Progress(counts=account, repeated=lease.progress_of(spec.job).repeated)
        last = status_of(spec, progress, time.time(), written=True)
        final = msgspec.structs.replace(last, location=str(path), sha256=sha256, cut=end.cut)
        end = await keep(status=msgspec.Raw(messages.encode(final)))
        faults.reach("finalise.2")
        log.get_logger().info("job ended", job=spec.job, state=final.state, images=account.done, file=str(path))
    lease.unfinished.add(spec.job)
    lease.ended.add(spec.job)
    lease.progress.pop(spec.job, None)
    if not end.announced:
        # 3. The final status in Kafka. Killed before the next step: it is sent again, the same bytes, the same key.
        assert end.status is not msgspec.UNSET
        await announce(spec.job, bytes(end.status))
        faults.reach("finalise.3")
        # 4. Kafka has it: write that down.
        end = await keep(announced=True)
        faults.reach("finalise.4")
    if not end.dropped:
        # 5. The entries go, a few at a time between two folds. Killed in it: the next attempt drops the rest.
        while await stored(lambda s: s.drop_some(spec.job)):
            faults.reach("finalise.within-5")
        await keep(dropped=True)
        faults.reach("finalise.5")
    lease.unfinished.discard(spec.job)


def write_file(lease: Lease, spec: JobSpec, path: Path) -> tuple[Counts, str]:
    """Writes a job's result file from its store. The account and the file's sha256.

    Retryable if a disk refuses; Released once the partition is not ours any more.
    """
    for stale in path.parent.glob(f".{path.name}.*.tmp"):  # of an attempt that was killed
        stale.unlink(missing_ok=True)
    account = fold_reader.read_account(lease.folder, spec.job, spec.total)

    def entries() -> Iterator[bytes]:
        for number, entry in enumerate(fold_reader.read_entries(lease.folder, spec.job, spec.total)):
            if number % 1000 == 0 and lease.released.is_set():
                raise Released
            yield entry

    try:
        with whole_file(path) as file:
            write_result(spec, account, entries(), file)
            faults.reach("finalise.within-1")
    except OSError as error:
        if lease.released.is_set():
            raise Released from error
        raise Retryable(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Fatal(f"{lease.folder} is damaged ({error}); move it away, and it is made again from the log") from error
    return account, file.sha256
