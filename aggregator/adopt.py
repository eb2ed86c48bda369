"""Jobs that ended without this store: their last status and their file say so, and nothing is folded again.

A store that was lost, or that comes from a machine which did not fold lately, would otherwise report a completed job
as running, and could not complete it at all once the log's retention is over.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trapstream.core import log, messages
from trapstream.core.errors import BadMessage
from trapstream.core.kafka import job_partition
from trapstream.core.messages import JobStatus
from trapstream.core.result_store import result_path
from trapstream.core.states import ENDED
from trapstream.results.fold_store import JobEnd, Store


def adopt(store: Store, partition: int, statuses: Mapping[bytes, bytes], results: Path) -> None:
    """Ends the jobs of `partition` in the store that have ended elsewhere. Retryable as the store.

    `statuses`: the newest of every job, as Kafka has it. `results`: the folder of the files.
    """
    ends: dict[str, JobEnd] = {}
    for value in statuses.values():
        try:
            status = messages.decode(value, JobStatus)
        except BadMessage as error:
            log.get_logger().error("bad status", error=str(error))
            continue
        end = store.job(status.job).end
        if status.state not in ENDED or job_partition(status.job) != partition or end.has_status:
            continue
        if not _is_there(status, results):
            # The log makes its file again. What the log has not any more is not done again: nobody asked for that.
            ends[status.job] = msgspec.structs.replace(end, file_lost=True)
        else:
            ends[status.job] = JobEnd(status=msgspec.Raw(value), announced=True, dropped=status.job not in store.jobs)
            log.get_logger().info("job adopted", job=status.job, state=status.state)
    if ends:
        store.set_ends(ends)


def _is_there(status: JobStatus, results: Path) -> bool:
    path = result_path(results, status.job).absolute()
    if status.location != str(path):
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == status.sha256
    except OSError:
        return False
