"""The journal of a live job: whatever a death leaves, what was acknowledged is there."""

import hashlib
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.live.live_job import JournalFile
from trapstream.core.result_store import ManifestLine, read_manifest

LINES = [ManifestLine(file=f"ä {n}.jpg", uri=f"file:///a/{n}", key=f"k{n}") for n in range(6)]


def loaded(path: Path) -> tuple[JournalFile, list[ManifestLine]]:
    found: list[ManifestLine] = []
    journal = JournalFile(path)
    journal.load(found.append)
    return journal, found


@given(st.data())
def test_a_torn_end_goes_and_the_rest_stays(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut anywhere, or followed by anything: the whole lines before it count, and it can be written on."""
    path = tmp_path_factory.mktemp("journal") / "a.jsonl"
    journal = JournalFile(path)
    journal.append(LINES)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    rest = data.draw(st.sampled_from([b"", b"\0" * 50, b"{}\n", b"\xff\xfe\n", b'{"file":"x"}\n' + whole]))
    path.write_bytes(whole[:cut] + rest)
    again, found = loaded(path)
    kept = whole[:cut].count(b"\n")
    assert found == LINES[:kept] and again.lines == kept
    assert path.stat().st_size == again.size
    again.append(LINES[kept:])
    assert path.read_bytes() == whole
    assert again.sha256 == hashlib.sha256(whole).hexdigest()
    assert list(read_manifest(path)) == LINES


def test_a_disk_that_fails_leaves_what_counted(tmp_path: Path) -> None:
    """A write that does not fit is taken back as a whole, and the next one follows what counts."""
    path = tmp_path / "a.jsonl"
    journal = JournalFile(path)
    journal.append(LINES[:2])
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 90, hard))
    try:
        with pytest.raises(OSError):
            journal.append(LINES[2:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and journal.lines == 2
    journal.append(LINES[2:])
    assert loaded(path)[1] == LINES
