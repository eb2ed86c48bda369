"""A reason of failures that only a later version knows, at each reader of results: consumers may be upgraded first."""

import io
from pathlib import Path

import msgspec

from notifier import event_format
from tests.unit.values import MODEL, image_result, job_spec
from trapstream.cli import account
from trapstream.core import kafka, messages
from trapstream.core.messages import Counts, ImageResult, JobState, JobStatus, Outcome, TimedHead
from trapstream.results import fold_reader, ledger
from trapstream.results.blocks import CODES
from trapstream.results.fold import Read, read
from trapstream.results.fold_store import Store
from trapstream.results.read import open_result
from trapstream.results.write import write_result

REASON = "from the future"
ENTRY = b'{"file":"hill/0.jpg","failure":"image access failure: from the future: at noon","detections":null}'
LATER = messages.encode(image_result(0, outcome=Outcome.FAILED, reason=REASON, entry=msgspec.Raw(ENTRY)))
KNOWN = messages.encode(image_result(1))


def results() -> Read:
    """Both messages, read as the aggregator does."""
    records = [event_format.Record(offset, 0.0, value) for offset, value in enumerate((LATER, KNOWN))]
    return read(records, kafka.job_partition("job-1"), {}, kafka.job_partition)


def file_of(folder: Path) -> bytes:
    """The job's file, from its store."""
    out = io.BytesIO()
    spec = job_spec(images=2, total=2)
    write_result(spec, fold_reader.read_account(folder, "job-1"), fold_reader.read_entries(folder, "job-1"), out)
    return out.getvalue()


def folded(folder: Path, known: bool) -> bytes:
    """The file that an aggregator makes. `known`: it is of the later version, whose stores have a number for it."""
    opened = Store(folder)
    if known:
        opened._codes[REASON] = 200
        opened._db.execute("insert into kinds values (200, ?)", (REASON,))
    found = results()
    assert found.bad == []
    opened.fold(found.results, 2)
    opened.close()
    return file_of(folder)


def test_the_file_is_the_same_in_every_version(tmp_path: Path) -> None:
    """A store that had a number for the reason and one that had none give the same bytes, also opened again."""
    older, later = folded(tmp_path / "older", known=False), folded(tmp_path / "later", known=True)
    assert older == later
    for folder in (tmp_path / "older", tmp_path / "later"):
        opened = Store(folder)
        assert opened.jobs["job-1"].fold.tally == {REASON: 1, "empty": 1}
        opened.close()
        assert file_of(folder) == older


def test_a_later_version_gives_no_number_twice(tmp_path: Path) -> None:
    """A store that met the reason before keeps its own number for it, beside those that each store begins with."""
    folded(tmp_path, known=False)
    opened = Store(tmp_path)
    assert opened._codes == CODES | {REASON: len(CODES)}
    opened.close()


def test_the_entry_and_the_account_say_the_same(tmp_path: Path) -> None:
    """The entry's bytes are taken as they are, and `verify` finds the reason there that the head counts."""
    made = folded(tmp_path / "store", known=False)
    assert ENTRY in made
    path = tmp_path / "result.json"
    path.write_bytes(made)
    opened = open_result(path)
    found = ledger.account(lambda: ["hill/0.jpg", "1.jpg"], opened.entries(), opened.typical_threshold)
    assert found.failed == {REASON: 1}
    assert found.complete
    assert ledger.disagreements(found, opened.account) == []


def test_the_status_names_it() -> None:
    """What `status` and `run` say of a job counts it under its own name."""
    counts = Counts(empty=1, failed={REASON: 1})
    status = JobStatus(job="job-1", state=JobState.COMPLETED, total=2, images=2, counts=counts)
    read_back = messages.decode(messages.encode(status), JobStatus)
    assert f"failed: {REASON}: 1" in account.equation(read_back)
    assert any(REASON in line for line in account.lines(read_back.counts, 2))


def test_listeners_hear_of_it() -> None:
    """The notifier, and whoever waits for a live image, read it as any failure."""
    event = event_format.read(event_format.Record(0, 0.0, LATER)).data
    assert (event.outcome, event.file, event.camera) == ("failed", "hill/0.jpg", "hill")
    assert bytes(messages.decode(LATER, TimedHead).entry) == ENTRY
    assert messages.decode(LATER, ImageResult).reason == REASON
    assert MODEL.label == messages.decode(LATER, ImageResult).model
