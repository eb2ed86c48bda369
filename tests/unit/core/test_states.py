"""The states of a job."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.values import job_spec
from trapstream.core.messages import JobSpec, JobState
from trapstream.core.states import ENDED, MOVES, images_of, merged, state_of


def test_a_live_job_has_what_is_done_until_it_is_sealed() -> None:
    """Before that nobody knows how many images it will have; an ordinary job has its manifest's."""
    live = job_spec(series="ridge", images=0)
    assert (images_of(live, 4), images_of(job_spec(images=3), 1)) == (4, 3)
    assert images_of(job_spec(series="ridge", images=9, total=9), 4) == 9
    assert state_of(live, 4, written=False) is JobState.OPEN
    assert state_of(job_spec(series="ridge", images=9, total=9), 4, written=False) is JobState.RUNNING


def test_every_state_has_its_row() -> None:
    """The table of moves names every state, once as a start."""
    assert set(MOVES) == set(JobState)


def test_the_ends_are_ends() -> None:
    """Completed, cancelled and failed are the ends, and nothing follows them."""
    assert {JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED} == ENDED
    assert not any(MOVES[end] for end in ENDED)


@pytest.mark.parametrize("state", [state for state in JobState if state not in ENDED])
def test_every_state_can_end_each_way(state: JobState) -> None:
    """From every state that is no end, each end can be reached."""
    reached, frontier = {state}, [state]
    while frontier:
        new = MOVES[frontier.pop()] - reached
        reached |= new
        frontier.extend(new)
    assert reached >= ENDED


def test_no_state_comes_back() -> None:
    """The moves have no circle: a job never returns to a state that it left."""
    for length in range(2, len(JobState) + 1):
        for path in itertools.permutations(JobState, length):
            circle = (*path, path[0])
            assert not all(after in MOVES[before] for before, after in itertools.pairwise(circle))


@given(
    total=st.integers(0, 6),
    steps=st.lists(st.sampled_from(["seal", "result", "cancel", "fail"]), max_size=12),
)
def test_what_can_happen_to_a_job_is_a_legal_move(total: int, steps: list[str]) -> None:
    """Whatever happens to a job, one thing at a time, its state moves along the table and ends in an end."""
    spec, done, states = job_spec(), 0, [JobState.OPEN]
    for step in steps:
        if step == "seal":
            spec = job_spec(total=total, cancelled=spec.cancelled, failed=spec.failed)
        elif step == "result":
            done = min(done + 1, total)
        elif step == "cancel":
            spec = job_spec(total=spec.total, cancelled=True, failed=spec.failed)
        else:
            spec = job_spec(total=spec.total, cancelled=spec.cancelled, failed="a reason")
        states.append(state_of(spec, done, written=False))
    if spec.cancelled or spec.failed is not None or (spec.total is not None and done == spec.total):
        states.append(state_of(spec, done, written=True))
        assert states[-1] in ENDED
    assert all(before == after or after in MOVES[before] for before, after in itertools.pairwise(states))


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"total": 3}, JobState.COMPLETED),
        ({"total": 3, "cancelled": True}, JobState.COMPLETED),
        ({"total": 4, "cancelled": True}, JobState.CANCELLED),
        ({"cancelled": True}, JobState.CANCELLED),
        ({"failed": "the list is gone"}, JobState.FAILED),
        ({"failed": "the list is gone", "cancelled": True}, JobState.FAILED),
    ],
)
def test_the_written_file_ends_the_job(changes: dict[str, object], state: JobState) -> None:
    """Once its file is written a job has ended, and the spec says how."""
    assert state_of(job_spec(**changes), 3, written=True) is state


specs = st.builds(
    job_spec,
    total=st.none() | st.integers(0, 5),
    cancelled=st.booleans(),
    failed=st.none() | st.sampled_from(["the list is gone", "the list was changed"]),
)


@given(specs, specs)
def test_what_was_decided_stays(old: JobSpec, new: JobSpec) -> None:
    """A job that was sealed, cancelled or failed stays so, whoever writes its spec next."""
    both = merged(old, new)
    assert both.cancelled == (old.cancelled or new.cancelled)
    assert (both.total is None) == (old.total is None and new.total is None)
    assert (both.failed is None) == (old.failed is None and new.failed is None)


@given(specs, specs)
def test_reading_the_log_again_changes_nothing(old: JobSpec, new: JobSpec) -> None:
    """The first spec is taken as it is, and one that comes a second time adds nothing."""
    assert merged(None, old) == old
    assert merged(merged(old, new), new) == merged(old, new)
