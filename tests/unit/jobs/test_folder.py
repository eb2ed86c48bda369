"""What of a watched folder is an image, and what of it was sent."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.jobs.folder import Found, Memory, Stamp, find, is_whole_name, scan
from trapstream.jobs.manifest import Notes


@pytest.mark.parametrize("name", ["a.jpg", "7/IMG_0001.JPG", "a.jpg.1", "a b/ä.PNG", "a.part.jpg"])
def test_names_of_images(name: str) -> None:
    """Also in folders, and as an FTP server calls a second one of the same name."""
    assert is_whole_name(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg.part", "a.jpg.tmp", "a.jpg.filepart", "a.JPG.PARTIAL", ".a.jpg", ".hidden/a.jpg", "a.txt", "a", "jpg",
        ".pureftpd-upload.62c3f1.15.6e.2a", "7/.pureftpd-upload.a.jpg", "~a.jpg", "a.jpg~", "Thumbs.db", "@eaDir/a.jpg",
        "a.jpg.crdownload", "a.1",
        "$RECYCLE.BIN/a.jpg", "$Recycle.Bin/S-1-5/a.jpg", "7/#Snapshot/x/a.jpg", "Recycler/a.jpg",
        "System Volume Information/a.jpg",
        "FOUND.000/a.jpg", "@GMT-2026.01.01-00.00.00/a.jpg", "@Recently-Snapshot/a.jpg", "LOST.DIR/a.jpg",
    ],
)  # fmt: skip
def test_names_of_what_is_no_whole_image(name: str) -> None:
    """Temporary names of FTP servers, browsers and file managers; hidden files; other kinds."""
    assert not is_whole_name(name.encode())


def test_only_regular_files_below_the_folder(tmp_path: Path) -> None:
    """Links, pipes, empty files and folders with an image's name are not sent, and nothing outside is reached."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "7" / "dir.jpg").mkdir(parents=True)
    outside.mkdir()
    for path in (inside / "a.jpg", inside / "7" / "b.jpg", outside / "secret.jpg"):
        path.write_bytes(b"x")
    (inside / "link.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "empty.jpg").touch()
    os.mkfifo(inside / "pipe.jpg")
    Path(os.fsdecode(os.fsencode(inside) + b"/\xff.jpg")).write_bytes(b"x")
    assert [found.path for found in scan(os.fsencode(inside), Notes())] == [b"7/b.jpg", b"a.jpg", b"\xff.jpg"]
    assert list(scan(os.fsencode(tmp_path / "gone"), Notes())) == []


def test_bins_and_snapshots_are_noted(tmp_path: Path) -> None:
    """By name, each once, whatever their case; nothing in them is an image to send."""
    for name in (
        "cam/a.jpg",
        "$Recycle.Bin/S-1/$RAB.JPG",
        "cam/#SNAPSHOT/x/a.jpg",
        "cam/@eaDir/a.jpg",
        "b/@eaDir/a.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    notes = Notes()
    assert [found.path for found in scan(os.fsencode(tmp_path), notes)] == [b"cam/a.jpg"]
    [line] = notes.lines()
    assert line.startswith("4 recycle bins") and line.endswith(": $Recycle.Bin, @eaDir, #SNAPSHOT, ...")


def test_a_file_that_changes_is_another(tmp_path: Path) -> None:
    """Its stamp tells size, time and the file itself: one that is renamed over it is new."""
    path, folder = tmp_path / "a.jpg", os.fsencode(tmp_path)
    path.write_bytes(b"one")
    first = find(folder, b"a.jpg")
    (tmp_path / "b").write_bytes(b"two")
    status = path.stat()
    (tmp_path / "b").rename(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert first is not None and find(folder, b"a.jpg") != first


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.integers(0, 2**60)), max_size=10), st.integers(0, 60))
def test_what_was_sent_is_remembered(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[bytes, int]], torn: int
) -> None:
    """Any name, across a restart; a line that a death tore is as if it had not been."""
    path = tmp_path_factory.mktemp("memory") / "m.jsonl"
    found = [Found(name, Stamp(number, number, number)) for name, number in sent]
    memory = Memory(path)
    for each in found:
        memory.add(each)
    memory.close()
    newest = {each.path: each for each in found}
    again = Memory(path)
    assert all(again.has(each) for each in newest.values())
    again.close()
    path.write_bytes(path.read_bytes() + b'["x.jpg", 1, 2, 3]'[:torn])
    once_more = Memory(path)
    last = Found(b"last", Stamp(1, 1, 1))
    once_more.add(last)
    once_more.close()
    final = Memory(path)
    assert all(final.has(each) for each in newest.values() if each.path != b"last") and final.has(last)
    final.close()
