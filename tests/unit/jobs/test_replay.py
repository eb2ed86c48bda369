"""A stored manifest under a second job's name."""

import errno
from pathlib import Path

import pytest

from trapstream.core.result_store import manifest_path
from trapstream.jobs.stored_manifest import SubmitError, reuse_manifest


def test_the_manifest_gets_a_second_name(tmp_path: Path) -> None:
    """The new job's manifest holds the bytes of the old one's, and outlives it."""
    manifest_path(tmp_path, "old").write_bytes(b"a line\n")
    reuse_manifest(tmp_path, "old", "new")
    manifest_path(tmp_path, "old").unlink()
    assert manifest_path(tmp_path, "new").read_bytes() == b"a line\n"


def test_a_disk_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk has no hard links the manifest is copied."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    manifest_path(tmp_path, "old").write_bytes(b"a line\n" * 1000)
    reuse_manifest(tmp_path, "old", "new")
    assert manifest_path(tmp_path, "new").read_bytes() == b"a line\n" * 1000


def test_a_manifest_that_is_gone_is_named(tmp_path: Path) -> None:
    """Without its manifest an old job cannot be done again: one line says what to do, and no new manifest is left."""
    with pytest.raises(SubmitError, match="submit its images as a new job"):
        reuse_manifest(tmp_path, "old", "new")
    assert not manifest_path(tmp_path, "new").exists()
