"""A job's end, cut off at every step: the same file, one last status."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aggregator import ending
from aggregator.lease import Lease, Released
from tests.unit.values import job_spec
from tests.waiting import eventually, patient
from trapstream.core import messages
from trapstream.core.messages import JobSpec, JobState, JobStatus
from trapstream.core.result_store import result_path
from trapstream.results import fold_store as store
from trapstream.results.fold import PIECE, Result

IMAGES = PIECE + 10
KINDS = ("detected", "empty", "not found")
SPEC = job_spec(job="job", images=IMAGES, total=IMAGES)


class Killed(BaseException):
    """Stands for SIGKILL: no code of the aggregator catches it."""


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    opened = store.Store(tmp_path / "store")
    results = [Result("job", seq, KINDS[seq % 3], b'{"file":"%d"}' % seq) for seq in range(IMAGES)]
    for start in range(0, IMAGES, 100):
        opened.fold(results[start : start + 100], start + 100)
    opened.close()
    return tmp_path / "store"


async def _end(folder: Path, thread: ThreadPoolExecutor, announced: list[bytes], spec: JobSpec = SPEC) -> None:
    """One life of a process: opens the store, ends the job, and is gone."""

    async def announce(job: str, status: bytes) -> None:
        announced.append(status)

    lease = Lease(0, folder, store.Store(folder), thread)
    try:
        await ending.end_job(lease, spec, folder.parent / "results", thread, announce)
    finally:
        await lease.close()


def _cut(call: Callable[..., Any], number: int, after: bool) -> Callable[..., Any]:
    """`call`, but its `number`th call is where the process dies: before it has done anything, or just after."""
    calls = 0

    def cut(*values: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise Killed
        answer = call(*values, **named)
        if calls == number:
            raise Killed
        return answer

    return cut


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("owner", "name", "number"),
    [
        (ending, "write_file", 1),
        (ending, "write_result", 1),
        (store.Store, "set_ends", 1),
        (store.Store, "set_ends", 2),
        (store.Store, "set_ends", 3),
        (store.Store, "drop_some", 1),
        (store.Store, "drop_some", 2),
    ],
)
async def test_killed_at_every_step(
    folder: Path, thread: ThreadPoolExecutor, owner: Any, name: str, number: int, after: bool, tmp_path: Path
) -> None:
    """Killed before or after any step, the next process ends the job with the same bytes and the same status."""
    announced: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, _cut(getattr(owner, name), number, after))
        with pytest.raises(Killed):
            await _end(folder, thread, announced)
    await _end(folder, thread, announced)
    lines = result_path(tmp_path / "results", "job").read_bytes().splitlines()
    assert [line.rstrip(b",") for line in lines[4:-2]] == [b'{"file":"%d"}' % seq for seq in range(IMAGES)]
    assert len(set(announced)) == 1
    assert list((tmp_path / "results").iterdir()) == [result_path(tmp_path / "results", "job")]
    opened = store.Store(folder)
    end = opened.job("job").end
    assert (end.announced, end.dropped, bytes(end.status)) == (True, True, announced[0])  # type: ignore[arg-type]
    assert not opened.drop_some("job")
    opened.close()


async def test_other_jobs_do_not_wait(
    folder: Path, thread: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a job waits for the result store, the store's thread is free and the job's status says why."""
    (tmp_path / "results").touch()
    lease = Lease(0, folder, store.Store(folder), thread)

    async def announce(job: str, status: bytes) -> None:
        pass

    async def says_why() -> bool:
        return lease.progress_of("job").message is not None

    task = asyncio.ensure_future(ending.end_job(lease, SPEC, tmp_path / "results", thread, announce))
    async with asyncio.timeout(patient(10)):
        await eventually("a word of it", says_why, pause=0.01)
        assert "result store" in str(lease.progress_of("job").message)
        await lease.with_store(lambda opened: opened.fold([Result("other", 0, "detected", b"{}")], IMAGES + 1))
        (tmp_path / "results").unlink()
        await task
    await lease.close()
    assert result_path(tmp_path / "results", "job").exists()


async def test_released_in_mid_file(folder: Path, thread: ThreadPoolExecutor, tmp_path: Path) -> None:
    """A partition that is taken away ends the writing of its job's file: nothing is left of it."""
    lease = Lease(0, folder, store.Store(folder), thread)
    lease.released.set()
    with pytest.raises(Released):
        ending.write_file(lease, SPEC, result_path(tmp_path / "results", "job"))
    assert list((tmp_path / "results").iterdir()) == []
    await lease.close()


async def test_a_stopped_job_is_cut_once(folder: Path, thread: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Killed between a cancelled job's file and its final status, it makes the same file again, whatever came then."""
    spec, announced = job_spec(job="job", images=2 * IMAGES, total=2 * IMAGES, cancelled=True), list[bytes]()
    path = result_path(tmp_path / "results", "job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.Store, "set_ends", _cut(store.Store.set_ends, 2, after=False))
        with pytest.raises(Killed):
            await _end(folder, thread, announced, spec)
    before = path.read_bytes()
    opened = store.Store(folder)
    cut = opened.next_offset or 0
    changes = opened.fold([Result("job", IMAGES + 1, "detected", b"{}")], cut + 1)
    assert (changes["job"].fresh, changes["job"].repeats) == (0, 1)
    opened.close()
    await _end(folder, thread, announced, spec)
    assert path.read_bytes() == before
    (final,) = announced
    status = messages.decode(final, JobStatus)
    assert (status.state, status.cut, status.counts.done) == (JobState.CANCELLED, cut, IMAGES)
