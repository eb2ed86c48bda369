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
from trapstream.results.fold_store import Mark, Note, Store


def adopt(store: Store, partition: int, statuses: Mapping[bytes, bytes], results: Path) -> None:
    """Marks the jobs of `partition` that have ended and whose file is whole in `results`. Retryable as the store."""
    gone: dict[str, Note] = {}
    for value in statuses.values():
        try:
            status = messages.decode(value, JobStatus)
        except BadMessage as error:
            log.get_logger().error("bad status", error=str(error))
            continue
        if status.state not in ENDED or job_partition(status.job) != partition:
            continue
        stored = store.jobs.get(status.job)
        if stored is not None and stored.mark is not None:
            continue
        if not _is_there(status, results):
            # The log makes its file again. What the log has not any more is not done again: nobody asked for that.
            gone[status.job] = msgspec.structs.replace(store.note_of(status.job), ended=True)
        else:
            store.set_mark(status.job, Mark(msgspec.Raw(value), announced=True, dropped=stored is None))
            log.get_logger().info("job adopted", job=status.job, state=status.state)
    if gone:
        store.set_notes(gone)


def _is_there(status: JobStatus, results: Path) -> bool:
    path = result_path(results, status.job).absolute()
    if status.location != str(path):
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == status.sha256
    except OSError:
        return False
