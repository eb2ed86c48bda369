"""Exit statuses, and the errors that carry them. docs/operators/command.md lists them."""

from trapstream.core.errors import TrapstreamError
from trapstream.core.messages import JobState, JobStatus

FAILED = 1
USAGE = 2
COULD_NOT_START = 3
INCOMPLETE = 4
SOME_FAILED = 5
INTERRUPTED = 130


class CommandError(TrapstreamError):
    """One line for the user, and the exit status."""

    status = FAILED


class NoSuchJob(CommandError):
    """The job's id is not known here."""

    def __init__(self, job: str) -> None:
        super().__init__(f"no job {job} here; `trapstream status` lists the jobs")


class Incomplete(CommandError):
    """Not every image of the job has its entry."""

    status = INCOMPLETE


class SomeFailed(CommandError):
    """Complete, with failures, where the user asked for none."""

    status = SOME_FAILED


class NotUp(CommandError):
    """No stack to talk to."""

    status = COULD_NOT_START


def unless_complete(ended: JobStatus) -> None:
    """Raises what an ended job's state means for the exit status."""
    if ended.state is JobState.FAILED:
        raise CommandError(f"{ended.job} failed: {ended.message or 'see the logs (trapstream logs)'}")
    if ended.state is JobState.CANCELLED:
        raise Incomplete(f"{ended.job} was cancelled with {ended.counts.done:,} images done")
