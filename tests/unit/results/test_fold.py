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
from trapstream.core.errors import BadMessage, Fatal, Reason, Retryable
from trapstream.core.messages import MOST_IMAGES, Counts, Outcome, ResultHead
from trapstream.results import blocks, fold_reader
from trapstream.results import fold_store as store
from trapstream.results.fold import PIECE, JobFold, Result, counts, fold, kind_of, read

SEQS = st.one_of(st.integers(0, 50), st.integers(PIECE - 3, PIECE + 3), st.integers(0, MOST_IMAGES - 1))
KINDS = ("detected", "empty", "not found", "damaged image", "a reason of a later version")
RESULTS = st.lists(st.tuples(SEQS, st.sampled_from(KINDS)), max_size=80)


class Record(NamedTuple):
    """A record of the log."""

    offset: int
    value: bytes | None


def test_the_numbers_of_kinds_never_change() -> None:
    """Stores on the disks of users hold these numbers: one that changed would make another file of the same log."""
    assert blocks.CODES == {
        "detected": 0, "empty": 1, "not found": 2, "no permission": 3, "not a file": 4, "forbidden location": 5,
        "unsupported address": 6, "server answered with an error": 7, "server not reachable": 8, "timed out": 9,
        "file too large": 10, "empty file": 11, "not an image": 12, "damaged image": 13, "too many pixels": 14,
        "the model refused the image": 15, "never answered": 16, "too costly to decode": 17, "another reason": 18,
    }  # fmt: skip


@pytest.mark.parametrize("reason", [*Reason, "a reason of a later version", "x" * 64])
def test_a_reason_is_the_kind_of_its_result(reason: str) -> None:
    """Each reason that there is is taken, and so is one that only a later version knows."""
    value = messages.encode(image_result(outcome=Outcome.FAILED, reason=reason))
    assert kind_of(messages.decode(value, ResultHead)) == str(reason)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.EMPTY, "not found"),
        (Outcome.FAILED, None),
        *((Outcome.FAILED, reason) for reason in ("", "detected", "empty", "x" * 65, "a: b", "a\nb", "é")),
    ],
)
def test_what_is_no_reason_is_refused(outcome: Outcome, reason: str | None) -> None:
    """An outcome without its reason, or a text that could not stand in a failure, is a message that cannot be read."""
    value = messages.encode(image_result(outcome=outcome, reason=reason))
    with pytest.raises(BadMessage):
        kind_of(messages.decode(value, ResultHead))


@given(RESULTS)
def test_first_result_wins(results: list[tuple[int, str]]) -> None:
    """The fold agrees with a dict that keeps the first, in counts and repeats."""
    model: dict[int, str] = {}
    state = JobFold()
    for seq, kind in results:
        assert fold(state, seq, kind) == (seq not in model)
        model.setdefault(seq, kind)
    assert state.repeated == len(results) - len(model)
    assert state.tally == {kind: list(model.values()).count(kind) for kind in set(model.values())}
    assert counts(state.tally).done == len(model)


@given(RESULTS, SEQS)
def test_below(results: list[tuple[int, str]], total: int) -> None:
    """`below` counts the images within a job's total."""
    state = JobFold()
    for seq, kind in results:
        fold(state, seq, kind)
    assert state.below(total) == len({seq for seq, _ in results if seq < total})


@given(st.data())
def test_order_between_jobs_does_not_matter(data: st.DataObject) -> None:
    """Any interleaving that keeps each job's order gives each job the same."""
    logs = {job: data.draw(RESULTS) for job in ("a", "b")}
    order = data.draw(st.permutations([job for job, log in logs.items() for _ in log]))
    states = {job: JobFold() for job in logs}
    folded = dict.fromkeys(logs, 0)
    for job in order:
        fold(states[job], *logs[job][folded[job]])
        folded[job] += 1
    for job, log in logs.items():
        alone = JobFold()
        for seq, kind in log:
            fold(alone, seq, kind)
        assert states[job] == alone


def test_memory_follows_images_and_not_the_highest_number() -> None:
    """One image with the highest number there is costs one piece."""
    state = JobFold()
    fold(state, MOST_IMAGES - 1, "empty")
    assert sum(len(bits) for bits in state.seen.values()) == PIECE // 8


def _result(job: str, seq: int, kind: str = "detected", length: int = 5) -> Result:
    return Result(job, seq, kind, b'{"file":"%d","x":"%s"}' % (seq, b"y" * length))


def _folded(opened: store.Store, log: Sequence[Result], batch: int) -> None:
    for start in range(0, len(log), batch):
        opened.fold(log[start : start + batch], start + batch)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(log=RESULTS, batch=st.integers(1, 40), below=st.one_of(st.none(), SEQS))
def test_store_keeps_the_first(
    log: list[tuple[int, str]], batch: int, below: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Entries come back in order, the first of each; opened again, the store knows the same."""
    folder = tmp_path_factory.mktemp("store")
    results = [_result("job", seq, kind, length=number) for number, (seq, kind) in enumerate(log)]
    opened = store.Store(folder)
    _folded(opened, results, batch)
    first: dict[int, Result] = {}
    for result in results:
        first.setdefault(result.seq, result)
    wanted = [first[seq] for seq in sorted(first) if below is None or seq < below]
    assert list(fold_reader.read_entries(folder, "job", below)) == [result.entry for result in wanted]
    assert fold_reader.read_account(folder, "job", below).done == len(wanted)
    before = {job: (stored.number, stored.fold) for job, stored in opened.jobs.items()}
    opened.close()
    again = store.Store(folder)
    assert {job: (stored.number, stored.fold) for job, stored in again.jobs.items()} == before
    assert again.next_offset == opened.next_offset
    again.close()


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
    opened.fold([_result("job", 0)], 1)
    opened._db.execute("pragma max_page_count = 12")
    with pytest.raises(Retryable):
        opened.fold([_result("job", seq, length=100_000) for seq in range(1, 20)], 20)
    opened.close()
    again = store.Store(tmp_path)
    assert (again.next_offset, counts(again.jobs["job"].fold.tally).done) == (1, 1)
    again.fold([_result("job", seq) for seq in range(1, 20)], 20)
    assert counts(again.jobs["job"].fold.tally).done == 20
    again.close()


def test_an_ended_job_takes_no_results(tmp_path: Path) -> None:
    """After its final status a job takes no results, its entries can be dropped, and the status survives."""
    opened = store.Store(tmp_path)
    _folded(opened, [_result("job", seq) for seq in range(3 * PIECE)], 300)
    _folded(opened, [_result("other", 0)], 1)
    end = store.JobEnd(status=msgspec.Raw(b'{"done":1}'))
    opened.set_ends({"job": end})
    changes = opened.fold([_result("job", 3 * PIECE)], 2)
    assert changes["job"].fresh == 0
    while opened.drop_some("job"):
        pass
    opened.close()
    again = store.Store(tmp_path)
    assert again.job("job").end == end
    assert list(fold_reader.read_entries(tmp_path, "job")) == []
    assert len(list(fold_reader.read_entries(tmp_path, "other"))) == 1
    again.close()


def test_a_late_attempt_does_not_open_an_ended_job(tmp_path: Path) -> None:
    """What a repair that was under way writes down after a job's end changes nothing else of that end."""
    opened = store.Store(tmp_path)
    opened.change_end("job", status=msgspec.Raw(b'{"done":1}'))
    opened.change_end("job", attempts=1)
    wanted = store.JobEnd(attempts=1, status=msgspec.Raw(b'{"done":1}'))
    assert opened.job("job").end == wanted
    assert opened.fold([_result("job", 0)], 1)["job"].fresh == 0
    opened.close()
    again = store.Store(tmp_path)
    assert again.job("job").end == wanted
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
    done = read(_records([good, *bad, good]), HOME, {}, kafka.job_partition)
    assert [result.seq for result in done.results] == [1, 1]
    assert [record.value for record, _ in done.bad] == bad
    assert all(reason for _, reason in done.bad)


def test_job_on_a_foreign_partition_is_parked() -> None:
    """A result that stands on another partition than its job's is refused: its job could never be whole."""
    done = read(_records([messages.encode(image_result(1))]), (HOME + 1) % 8, {}, kafka.job_partition)
    assert not done.results
    assert "belongs on partition" in done.bad[0][1]


def test_entry_on_many_lines_becomes_one() -> None:
    """An entry that another program wrote with line breaks still takes one line of the file."""
    entry = b'{\n "file": "1.jpg",\r\n "detections": [ ]\n}'
    value = messages.encode(image_result(1)).replace(b'{"file":"1.jpg","detections":[]}', entry)
    [result] = read(_records([value]), HOME, {}, kafka.job_partition).results
    assert result.entry == b'{"file":"1.jpg","detections":[]}'


def test_a_forgotten_job_leaves_nothing(tmp_path: Path) -> None:
    """What is forgotten is gone, also after a new start, and other jobs keep their entries; it may come again."""
    opened = store.Store(tmp_path)
    opened.fold([Result(job, seq, "empty", b"{}") for job in ("one", "two") for seq in range(9)], 18)
    opened.set_ends({"two": store.JobEnd(attempts=1)})
    opened.forget("two")
    opened.forget("nobody")
    opened.fold([Result("three", 1, "empty", b"{}")], 19)
    opened.close()
    opened = store.Store(tmp_path)
    assert {job: counts(stored.fold.tally).done for job, stored in opened.jobs.items()} == {"one": 9, "three": 1}
    assert opened.job("three").end == store.JobEnd()
    assert opened.fold([Result("two", 1, "empty", b"{}")], 20)["two"].fresh == 1
    opened.close()


def test_a_store_of_the_first_versions(tmp_path: Path) -> None:
    """A store without a table of kinds, with its marks and notes as they were, is read as it was meant."""
    opened = store.Store(tmp_path)
    opened.fold([_result(job, seq, "not found") for job in ("one", "two", "three") for seq in range(2)], 6)
    opened._db.execute("drop table kinds")
    opened._db.execute(
        """update jobs set mark = '{"status":{"a":1},"announced":true,"dropped":false}' where number = 1"""
    )
    opened._db.execute("""insert into notes values (2, '{"attempts":2,"ended":true,"cut":null}')""")
    opened._db.execute("""insert into notes values (3, '{"attempts":0,"ended":false,"cut":5}')""")
    opened.close()
    again = store.Store(tmp_path)
    assert again.job("one").end == store.JobEnd(status=msgspec.Raw(b'{"a":1}'), announced=True)
    assert again.job("two").end == store.JobEnd(attempts=2, file_lost=True)
    assert again.job("three").end == store.JobEnd(cut=5)
    assert [again.job(job).end.closed for job in ("one", "two", "three")] == [True, False, True]
    assert counts(again.jobs["two"].fold.tally) == Counts(failed={"not found": 2})
    again.close()


def test_more_kinds_than_a_store_has_numbers(tmp_path: Path) -> None:
    """Every result still counts once: the reasons beyond the last number count as another reason."""
    opened = store.Store(tmp_path)
    opened.fold([_result("job", seq, f"reason {seq}") for seq in range(400)], 400)
    opened.close()
    again = store.Store(tmp_path)
    found = fold_reader.read_account(tmp_path, "job")
    assert counts(again.jobs["job"].fold.tally).done == found.done == 400
    assert found.failed["another reason"] == 400 - (256 - 19)
    again.close()
