"""The fold's rule, its memory, and its store, against naive models."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.values import image_result
from trapstream.core import kafka, messages
from trapstream.core.errors import Fatal, Reason, Retryable
from trapstream.core.messages import MOST_IMAGES, Outcome
from trapstream.results import blocks, entries
from trapstream.results import fold_store as store
from trapstream.results.fold import CODES, PIECE, JobFold, Result, counts, fold
from trapstream.results.records import read

SEQS = st.one_of(st.integers(0, 50), st.integers(PIECE - 3, PIECE + 3), st.integers(0, MOST_IMAGES - 1))
RESULTS = st.lists(st.tuples(SEQS, st.sampled_from(sorted(CODES.values()))), max_size=80)


class Record(NamedTuple):
    """A record of the log."""

    offset: int
    value: bytes | None


def test_every_outcome_has_its_own_code() -> None:
    """Each outcome and reason has one number, and no two share one."""
    wanted = {(Outcome.DETECTED, None), (Outcome.EMPTY, None)} | {(Outcome.FAILED, reason) for reason in Reason}
    assert set(CODES) == wanted
    assert len(set(CODES.values())) == len(CODES)


@given(RESULTS)
def test_first_result_wins(results: list[tuple[int, int]]) -> None:
    """The fold agrees with a dict that keeps the first, in counts, repeats and the highest seq."""
    model: dict[int, int] = {}
    state = JobFold()
    for seq, code in results:
        assert fold(state, seq, code) == (seq not in model)
        model.setdefault(seq, code)
    assert state.done == len(model)
    assert state.repeated == len(results) - len(model)
    assert state.highest == max(model, default=-1)
    assert state.tally == {code: list(model.values()).count(code) for code in set(model.values())}
    assert counts(state.tally).done == len(model)


@given(RESULTS, SEQS)
def test_below(results: list[tuple[int, int]], total: int) -> None:
    """`below` counts the images within a job's total."""
    state = JobFold()
    for seq, code in results:
        fold(state, seq, code)
    assert state.below(total) == len({seq for seq, _ in results if seq < total})


@given(st.data())
def test_order_between_jobs_does_not_matter(data: st.DataObject) -> None:
    """Any interleaving that keeps each job's order gives each job the same."""
    logs = {job: data.draw(RESULTS) for job in ("a", "b")}
    order = data.draw(st.permutations([job for job, log in logs.items() for _ in log]))
    states = {job: JobFold() for job in logs}
    place = dict.fromkeys(logs, 0)
    for job in order:
        fold(states[job], *logs[job][place[job]])
        place[job] += 1
    for job, log in logs.items():
        alone = JobFold()
        for seq, code in log:
            fold(alone, seq, code)
        assert states[job] == alone


def test_memory_follows_images_and_not_the_highest_number() -> None:
    """One image with the highest number there is costs one piece."""
    state = JobFold()
    fold(state, MOST_IMAGES - 1, 0)
    assert sum(len(bits) for bits in state.seen.values()) == PIECE // 8


def _result(job: str, seq: int, code: int, length: int = 5) -> Result:
    return Result(job, seq, code, b'{"file":"%d","x":"%s"}' % (seq, b"y" * length))


def _folded(opened: store.Store, log: Sequence[Result], batch: int) -> None:
    for start in range(0, len(log), batch):
        opened.fold(log[start : start + batch], start + batch)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(log=RESULTS, batch=st.integers(1, 40), below=st.one_of(st.none(), SEQS))
def test_store_keeps_the_first(
    log: list[tuple[int, int]], batch: int, below: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Entries come back in order, the first of each; opened again, the store knows the same."""
    folder = tmp_path_factory.mktemp("store")
    results = [_result("job", seq, code, length=place) for place, (seq, code) in enumerate(log)]
    opened = store.Store(folder)
    _folded(opened, results, batch)
    first: dict[int, Result] = {}
    for result in results:
        first.setdefault(result.seq, result)
    wanted = [first[seq] for seq in sorted(first) if below is None or seq < below]
    assert list(entries.read_entries(folder, "job", below)) == [result.entry for result in wanted]
    assert counts(entries.read_tally(folder, "job", below)).done == len(wanted)
    before = {job: (stored.number, stored.fold) for job, stored in opened.jobs.items()}
    opened.close()
    again = store.Store(folder)
    assert {job: (stored.number, stored.fold) for job, stored in again.jobs.items()} == before
    assert again.next_offset == opened.next_offset
    again.close()


def test_piece_of_large_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece whose entries are too large for memory is read one by one, with the same answer."""
    results = [_result("job", seq, 0, length=seq % 7) for seq in (3, 1, PIECE + 1, 0, 2, PIECE)]
    opened = store.Store(tmp_path)
    _folded(opened, results, 2)
    opened.close()
    usual = list(entries.read_entries(tmp_path, "job"))
    monkeypatch.setattr(entries, "_LARGE_PIECE", 10)
    assert list(entries.read_entries(tmp_path, "job")) == usual
    assert len(usual) == 6


def test_store_has_one_owner(tmp_path: Path) -> None:
    """Two processes can never write one store; closed, another may have it."""
    first = store.Store(tmp_path)
    with pytest.raises(Retryable, match="held by another"):
        store.Store(tmp_path)
    first.close()
    store.Store(tmp_path).close()


def test_damaged_store(tmp_path: Path) -> None:
    """A damaged store stops the process with a line that says what to do."""
    (tmp_path / "store.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(Fatal, match="move it"):
        store.Store(tmp_path)


def test_refused_fold_changes_nothing(tmp_path: Path) -> None:
    """A batch that the disk refuses is not there afterwards, neither entries nor offset; it can be folded again."""
    opened = store.Store(tmp_path)
    opened.fold([_result("job", 0, 0)], 1)
    opened._db.execute("pragma max_page_count = 12")
    with pytest.raises(Retryable):
        opened.fold([_result("job", seq, 0, length=100_000) for seq in range(1, 20)], 20)
    opened.close()
    again = store.Store(tmp_path)
    assert (again.next_offset, again.jobs["job"].fold.done) == (1, 1)
    again.fold([_result("job", seq, 0) for seq in range(1, 20)], 20)
    assert again.jobs["job"].fold.done == 20
    again.close()


def test_mark_ends_a_job(tmp_path: Path) -> None:
    """After its mark a job takes no results, its entries can be dropped, and the mark survives."""
    opened = store.Store(tmp_path)
    _folded(opened, [_result("job", seq, 0) for seq in range(3 * PIECE)], 300)
    _folded(opened, [_result("other", 0, 0)], 1)
    mark = store.Mark(status=msgspec.Raw(b'{"done":1}'))
    opened.set_mark("job", mark)
    changes = opened.fold([_result("job", 3 * PIECE, 0)], 2)
    assert changes["job"].fresh == 0
    while opened.drop_some("job"):
        pass
    opened.close()
    again = store.Store(tmp_path)
    assert again.jobs["job"].mark == mark
    assert list(entries.read_entries(tmp_path, "job")) == []
    assert len(list(entries.read_entries(tmp_path, "other"))) == 1
    again.close()


@given(st.lists(SEQS, unique=True, min_size=1, max_size=50), st.integers(1, 2**30))
def test_keys_do_not_meet(seqs: list[int], number: int) -> None:
    """A block's key names its job and its lowest seq, and nothing else."""
    keys = [blocks.key(number, seq) for seq in seqs]
    assert len(set(keys)) == len(seqs)
    assert all(blocks.key(number, 0) <= key < blocks.key(number + 1, 0) < 2**63 for key in keys)


def _records(values: Sequence[bytes | None]) -> list[Record]:
    return [Record(offset, value) for offset, value in enumerate(values)]


HOME = kafka.job_partition("job-1")


def test_what_cannot_be_read_is_parked() -> None:
    """Each kind of unreadable message is named with a reason, and the others are read."""
    good = messages.encode(image_result(1))
    bad = [
        None,
        b"",
        b"not json",
        good.replace(b'"v":1', b'"v":2'),
        good.replace(b'"empty"', b'"failed"'),
        good.replace(b'"job-1"', b'"../job"'),
        good.replace(b'"job-1"', b'"job-1\\n"'),
        good.replace(b'"seq":1', b'"seq":-1'),
        good.replace(b'"entry":{', b'"entry":[{').replace(b"},", b"}],", 1),
        good.replace(b"1.jpg", b"\xff.jpg"),
        base64.b64decode("/////w=="),
    ]
    done = read(_records([good, *bad, good]), HOME, {})
    assert [result.seq for result in done.results] == [1, 1]
    assert [record.value for record, _ in done.bad] == bad
    assert all(reason for _, reason in done.bad)


def test_job_on_a_foreign_partition_is_parked() -> None:
    """A result that stands on another partition than its job's is refused: its job could never be whole."""
    done = read(_records([messages.encode(image_result(1))]), (HOME + 1) % 8, {})
    assert not done.results
    assert "belongs on partition" in done.bad[0][1]


def test_entry_on_many_lines_becomes_one() -> None:
    """An entry that another program wrote with line breaks still takes one line of the file."""
    entry = b'{\n "file": "1.jpg",\r\n "detections": [ ]\n}'
    value = messages.encode(image_result(1)).replace(b'{"file":"1.jpg","detections":[]}', entry)
    [result] = read(_records([value]), HOME, {}).results
    assert result.entry == b'{"file":"1.jpg","detections":[]}'


def test_a_forgotten_job_leaves_nothing(tmp_path: Path) -> None:
    """What is forgotten is gone, also after a new start, and other jobs keep their entries; it may come again."""
    opened = store.Store(tmp_path)
    opened.fold([Result(job, seq, 0, b"{}") for job in ("one", "two") for seq in range(9)], 18)
    opened.set_notes({"two": store.Note(attempts=1)})
    opened.forget("two")
    opened.forget("nobody")
    opened.fold([Result("three", 1, 0, b"{}")], 19)
    opened.close()
    opened = store.Store(tmp_path)
    assert {job: stored.fold.done for job, stored in opened.jobs.items()} == {"one": 9, "three": 1}
    assert opened.note_of("three") == store.Note()
    assert opened.fold([Result("two", 1, 0, b"{}")], 20)["two"].fresh == 1
    opened.close()
