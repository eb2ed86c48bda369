"""The account of a file against its manifest, exact in any order and small in the order of the manifest."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.results.test_write import COUNTS, ENTRIES, _bytes
from tests.unit.values import job_spec
from trapstream.results.entry import Detection, Entry
from trapstream.results.ledger import Account, account, disagreements, explanation, reason_of, summary
from trapstream.results.read import open_result, verify


def found_entry(file: str, confidence: float = 0.0, failure: str | None = None) -> Entry:
    return Entry(file, [Detection("1", confidence)], failure)


NAMES = st.lists(st.sampled_from([f"{n}.jpg" for n in range(12)]), unique=True)
FILES = st.lists(
    st.builds(
        found_entry,
        file=st.sampled_from([f"{n}.jpg" for n in range(15)]),
        confidence=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
        failure=st.sampled_from([None, None, "image access failure: not found", "inference failure"]),
    )
)


@given(NAMES, FILES)
def test_exact_in_any_order(names: list[str], files: list[Entry]) -> None:
    """Whatever the order, every image and every entry is counted once, under what it is."""
    found = account(lambda: names, files, threshold=0.5)
    entries = Counter(entry.file for entry in files)
    first = {entry.file: entry for entry in reversed(files)}
    there = [first[name] for name in names if name in first]
    assert found.published == len(names)
    assert found.missing.total == len([name for name in names if name not in entries])
    assert found.unknown.total == sum(number for name, number in entries.items() if name not in names)
    assert found.doubled.total == sum(entries[name] - 1 for name in names if name in entries)
    assert found.detected == len([e for e in there if e.failure is None and e.confidence >= 0.5])
    assert found.empty == len([e for e in there if e.failure is None and e.confidence < 0.5])
    assert sum(found.failed.values()) == len([e for e in there if e.failure is not None])
    done = found.detected + found.empty + sum(found.failed.values())
    assert found.published == done + found.missing.total
    assert len(files) == done + found.doubled.total + found.unknown.total
    assert found.complete == (sorted(names) == sorted(entry.file for entry in files))


def test_names_are_listed() -> None:
    """The first names of each kind are shown, and how many there are in all."""
    found = account(lambda: ["a", "b", "c"], [found_entry(name) for name in "cxcc"], 0.5, show=1)
    assert (found.missing.total, found.missing.first) == (2, ("a",))
    assert (found.doubled.total, found.doubled.first) == (2, ("c",))
    assert (found.unknown.total, found.unknown.first) == (1, ("x",))
    text = "\n".join(summary(found))
    assert "missing: 2 in all" in text
    assert "not complete" in text


def test_memory_is_flat_in_order() -> None:
    """A file in the order of its manifest needs no memory that grows with it, even a few entries out of step."""

    def names(count: int) -> Iterator[str]:
        return (f"site/{n:09d}.jpg" for n in range(count))

    def entries(count: int) -> Iterator[Entry]:
        return (found_entry(name) for n, name in enumerate(names(count)) if n != 5)

    def peak(count: int) -> int:
        tracemalloc.start()
        assert account(lambda: names(count), entries(count), 0.5).missing.total == 1
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(40_000) < peak(1_000) + 200_000  # a name for each image would take four millions


def test_reason() -> None:
    """The reason is what stands between the failure's kind and its detail."""
    assert reason_of("image access failure: not found: /a: b") == "not found"
    assert reason_of("Failure image access") == "Failure image access"


def test_verify(tmp_path: Path) -> None:
    """A file on disk is held against its manifest and against its own account."""
    path = tmp_path / "result.json"
    path.write_bytes(_bytes(job_spec(total=3), COUNTS, ENTRIES))
    found = verify(path, lambda: ["a/é.jpg", "b.jpg", "c.jpg"])
    assert found == Account(published=3, detected=1, empty=1, failed={"not found": 1})
    assert disagreements(found, open_result(path).account) == []
    assert disagreements(verify(path, lambda: ["b.jpg"]), open_result(path).account) != []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"total": 4, "cancelled": True}, "the job was cancelled: 1 of 4 images are missing"),
        ({"images": 4}, "the file was written while the job ran: 1 of 4 images are missing"),
        ({"images": 4, "failed": "no manifest"}, "the job could not be published: 1 of 4 images are missing"),
    ],
)
def test_why_images_are_missing(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """A file that is not whole says itself why."""
    path = tmp_path / "result.json"
    path.write_bytes(_bytes(job_spec(**changes), COUNTS, ENTRIES))
    found = verify(path, lambda: ["a/é.jpg", "b.jpg", "c.jpg", "d.jpg"])
    assert said in str(explanation(found, open_result(path).account))


def test_verify_of_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is the disk's error, not an empty account."""
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none.json", list)
