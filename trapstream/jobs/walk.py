"""The images below a folder, in the order of their names' bytes, each once."""

# ruff: noqa: PTH114, PTH116, PTH118
# Paths are bytes here, so that every name works; pathlib has only text.

import os
from collections.abc import Iterator

from trapstream.jobs.kinds import BINS, MOST_BINS, kept_out, left_out
from trapstream.jobs.manifest import Notes, SourceError, path_text

_UNREADABLE = "folders could not be read and were left out"
_LINKED = "links to folders that are read under their own name were left out"


def walk(root: bytes, notes: Notes) -> Iterator[bytes]:
    """Paths of images relative to the folder `root`, sorted as whole byte strings. SourceError if it cannot be read.

    A link to a file counts as the file, also where it leads nowhere: that image then fails by its name. A link to
    a folder is followed once, and not where the folder is read under its own name: so a loop of links ends.
    """
    try:
        names = _sorted(root, notes)
        top = os.stat(root)
    except OSError as error:
        raise SourceError(f"{path_text(root)}: cannot read this folder: {error.strerror}") from None
    real_root = os.path.realpath(root)
    read = {(top.st_dev, top.st_ino)}
    stack = [names]
    steps: list[bytes] = []
    while stack:
        for name in stack[-1]:
            relative = b"".join([*steps, name])
            if not name.endswith(b"/"):
                yield relative
                continue
            path = os.path.join(root, relative[:-1])
            try:
                if not _enter(path, real_root, read):
                    notes.add(_LINKED, path_text(path))
                    continue
                below = _sorted(path, notes)
            except OSError as error:
                notes.add(_UNREADABLE, f"{path_text(path)} ({error.strerror})")
                continue
            stack.append(below)
            steps.append(name)
            break
        else:
            stack.pop()
            if steps:
                steps.pop()


def _enter(path: bytes, real_root: bytes, read: set[tuple[int, int]]) -> bool:
    """Whether the folder is to be read here, which is then remembered; else it is read under its own name. OSError."""
    if os.path.islink(path):
        target = os.path.realpath(path)
        if _is_inside(target, real_root) or _is_inside(real_root, target):
            return False
    status = os.stat(path)
    key = (status.st_dev, status.st_ino)
    if key in read:
        return False
    read.add(key)
    return True


def _is_inside(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _sorted(folder: bytes, notes: Notes) -> Iterator[bytes]:
    """Names of images, and of folders with a slash behind them: so whole paths come out sorted."""
    with os.scandir(folder) as entries:
        return iter(sorted(name for entry in entries if (name := _name_of(entry, notes)) is not None))


def _name_of(entry: "os.DirEntry[bytes]", notes: Notes) -> bytes | None:
    """The entry's name as `_sorted` gives it; None for one that is left out."""
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link to itself, or into a closed folder
        is_folder = False
    if (kind := kept_out(entry.name)) is None:
        if is_folder:
            return entry.name + b"/"
        if (found := left_out(entry.name)) is None:
            return entry.name
        kind = found[0]
    if kind is BINS:
        notes.add(kind, path_text(entry.name), MOST_BINS)
    else:
        notes.add(kind, path_text(entry.path))
    return None
