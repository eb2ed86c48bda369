"""A watched folder: which of its files are whole images, and which were sent before. It blocks."""

import json  # names that are not UTF-8 hold surrogates, which orjson refuses
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trapstream.jobs.kinds import BINS, MOST_BINS, is_image_name, kept_out
from trapstream.jobs.manifest import Notes, path_text

_TEMPORARY = (b".part", b".partial", b".tmp", b".temp", b".filepart", b".crdownload", b".upload", b".swp", b"~")
"""How names end that FTP servers, browsers and file managers give to files that are not whole yet."""
_STARTS = (b"~", b"_tmp_", b"pureftpd-upload.")


class Stamp(NamedTuple):
    """The marks of a file that change when its content does."""

    size: int
    modified: int
    """Nanoseconds."""
    file: int
    """Its inode: a file that is renamed over another one is another file."""


class Found(NamedTuple):
    """A file that may be an image."""

    path: bytes
    """Relative to the folder."""
    stamp: Stamp


def is_whole_name(path: bytes) -> bool:
    """Whether a relative path is an image's, and not that of something that is being written. Hidden ones are not.

    `IMG_1.JPG.1`, as an FTP server names a second file of the same name, counts by the name before the number.
    """
    steps = path.split(b"/")
    if any(map(kept_out, steps)):
        return False
    name = steps[-1].lower()
    if name.endswith(_TEMPORARY) or name.startswith(_STARTS):
        return False
    stem, _, number = name.rpartition(b".")
    return is_image_name(stem if number.isdigit() else name)


def find(folder: bytes, path: bytes) -> Found | None:
    """The image file at a relative path; None for anything else. Links are not followed: they may lead anywhere."""
    if not is_whole_name(path):
        return None
    try:
        status = os.lstat(os.path.join(folder, path))  # noqa: PTH118 - names are bytes
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return None
    return Found(path, Stamp(status.st_size, status.st_mtime_ns, status.st_ino))


def scan(folder: bytes, notes: Notes, below: bytes = b"") -> Iterator[Found]:
    """All image files below the folder. It blocks. A folder that goes away meanwhile has none.

    Recycle bins, snapshots and the like are noted.
    """
    try:
        entries = sorted(os.scandir(os.path.join(folder, below)), key=lambda entry: entry.name)  # noqa: PTH118
    except OSError:
        return
    for entry in entries:
        path = below + b"/" + entry.name if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            if (kind := kept_out(entry.name)) is None:
                yield from scan(folder, notes, path)
            elif kind is BINS:
                notes.add(kind, path_text(entry.name), MOST_BINS)
        elif (found := find(folder, path)) is not None:
            yield found


class Memory:
    """Which files were sent: a file of lines that only grows. It blocks."""

    def __init__(self, path: Path) -> None:
        """OSError if it cannot be read or written."""
        self._sent: dict[bytes, Stamp] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        self._file.seek(0)
        good = 0
        for line in self._file:
            try:
                name, *stamp = json.loads(line)
                self._sent[os.fsencode(name)] = Stamp(*stamp)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            good += len(line)
        self._file.truncate(good)  # a line that a death tore: its file is sent again, and known where it goes

    def fileno(self) -> int:
        """For a lock: two watchers of one folder would send everything twice."""
        return self._file.fileno()

    def has(self, found: Found) -> bool:
        """Whether the file was sent as it is now."""
        return self._sent.get(found.path) == found.stamp

    def add(self, found: Found) -> None:
        """Notes that it was. OSError."""
        line = json.dumps([os.fsdecode(found.path), *found.stamp])
        self._file.write(line.encode() + b"\n")
        self._sent[found.path] = found.stamp

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()
