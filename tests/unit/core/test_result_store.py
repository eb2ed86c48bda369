"""The result store: a file is whole or absent."""

import hashlib
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import patient
from trapstream.core import result_store
from trapstream.core.result_store import ManifestLine


def test_a_whole_file_appears_at_the_end(tmp_path: Path) -> None:
    """Nothing is seen at the path until the block ends; then all of it is, and nothing else is left."""
    path = tmp_path / "new" / "job.json"
    with result_store.whole_file(path) as file:
        file.write(b"one ")
        file.write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, b"the older file"])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: BaseException, before: bytes | None) -> None:
    """An error in the block leaves the older file, or none, and no temporary one."""
    path = tmp_path / "job.json"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)), result_store.whole_file(path) as file:
        file.write(b"half of a")
        raise error
    assert (path.read_bytes() if path.exists() else None) == before
    assert list(tmp_path.iterdir()) == ([] if before is None else [path])


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.rename"])
def test_a_disk_that_fails_late_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """An error while the file is made durable or renamed leaves the older file."""

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    path = tmp_path / "job.json"
    path.write_bytes(b"the older file")
    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="Input/output"), result_store.whole_file(path) as file:
        file.write(b"the newer file")
    assert path.read_bytes() == b"the older file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, "the older file"])
def test_a_killed_process_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    """A process that dies in the middle of writing leaves the older file, or none, at the path."""
    path = tmp_path / "job.json"
    if before is not None:
        path.write_text(before)
    program = (
        "import os, sys, pathlib\n"
        "from trapstream.core import result_store\n"
        "with result_store.whole_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'x' * 1_000_000)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], timeout=patient(30), check=False)
    assert ended.returncode == -9
    assert (path.read_text() if path.exists() else None) == before


@given(pieces=st.lists(st.binary(max_size=50), max_size=20))
def test_the_digest_is_of_what_was_written(pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Size and sha256 are those of the file."""
    path = tmp_path_factory.getbasetemp() / "digest.json"
    with result_store.whole_file(path) as file:
        for piece in pieces:
            file.write(piece)
    assert path.read_bytes() == b"".join(pieces)
    assert file.size == len(b"".join(pieces))
    assert file.sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_result_can_be_read_by_those_who_may_read_the_folder(tmp_path: Path) -> None:
    """A file gets the permissions that any new file gets."""
    plain = tmp_path / "plain"
    plain.touch()
    with result_store.whole_file(tmp_path / "job.json") as file:
        file.write(b"{}")
    assert stat.S_IMODE((tmp_path / "job.json").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_job_has_its_two_files(tmp_path: Path) -> None:
    """Result and manifest of a job lie side by side and cannot be confused."""
    paths = {
        result_store.result_path(tmp_path, "a"),
        result_store.manifest_path(tmp_path, "a"),
        result_store.result_path(tmp_path, "b"),
    }
    assert len(paths) == 3
    assert {path.parent for path in paths} == {tmp_path}


text = st.text(st.characters(codec="utf-8"), max_size=40)


@given(lines=st.lists(st.builds(ManifestLine, text, text, st.none() | text), max_size=10))
def test_a_manifest_comes_back_as_it_was_written(
    lines: list[ManifestLine], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One line an image, in order, whatever the names hold: newlines too."""
    path = tmp_path_factory.getbasetemp() / "manifest.jsonl"
    with result_store.whole_file(path) as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")
    assert list(result_store.read_manifest(path)) == lines


def test_a_damaged_manifest_is_said_to_be_one(tmp_path: Path) -> None:
    """A line that is no manifest line is an error, not a missing image."""
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"file":"a","uri":"b"}\n{"file":\n')
    with pytest.raises(msgspec.DecodeError):
        list(result_store.read_manifest(path))
