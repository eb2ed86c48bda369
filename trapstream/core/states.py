"""The states of a job and the moves between them. Pure."""

import msgspec

from trapstream.core.messages import JobSpec, JobState

MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.OPEN: frozenset({JobState.SEALED, JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.SEALED: frozenset({JobState.RUNNING, JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED}),
    JobState.COMPLETED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.FAILED: frozenset(),
}
"""State to the states that may follow it. Results may arrive before the seal: open may go to running."""

ENDED = frozenset(state for state, after in MOVES.items() if not after)


def state_of(spec: JobSpec, done: int, written: bool) -> JobState:
    """The state that a job's spec and its account imply. `written`: its final file is in the store.

    A job whose every image has its entry is completed, even if it was cancelled too late to matter.
    """
    if written:
        if spec.total is not None and done >= spec.total:
            return JobState.COMPLETED
        if spec.failed is not None:
            return JobState.FAILED
        return JobState.CANCELLED if spec.cancelled else JobState.COMPLETED
    if done > 0 and (spec.series is None or spec.total is not None):  # a live job is open until it is sealed
        return JobState.RUNNING
    return JobState.SEALED if spec.total is not None else JobState.OPEN


def expected(spec: JobSpec) -> int | None:
    """How many images a job will have; None for a live job before its seal."""
    if spec.total is not None:
        return spec.total
    return spec.images if spec.series is None else None


def images_of(spec: JobSpec, done: int) -> int:
    """How many images a job has: of an open live job, those that are done."""
    known = expected(spec)
    return done if known is None else known


def merged(old: JobSpec | None, new: JobSpec) -> JobSpec:
    """`new` after `old` in the log: what was decided once stays so, whoever wrote last.

    Producer and command both write a job's spec, each from what it last read: a seal that crosses a cancellation
    must not take it back, nor the other way round.
    """
    if old is None:
        return new
    return msgspec.structs.replace(
        new,
        total=new.total if old.total is None else old.total,
        cancelled=new.cancelled or old.cancelled,
        failed=new.failed if old.failed is None else old.failed,
    )
