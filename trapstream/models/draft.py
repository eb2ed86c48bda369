"""Folders that appear whole or not at all: a draft beside the others, which nobody sees until it gets its name."""

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from trapstream.core.result_store import sync_folder

_DRAFT = ".draft-"


@contextlib.contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` that is gone after the block, unless it was published.

    Drafts of processes that were killed are removed on the way. OSError as the disk gives it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with lock(parent):
        for left in parent.glob(f"{_DRAFT}*"):
            _remove_unless_used(left)
        draft = parent / f"{_DRAFT}{uuid.uuid4().hex}"
        draft.mkdir()
        handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)  # for as long as its maker lives
    try:
        yield draft
    finally:
        if draft.exists():
            shutil.rmtree(draft)
        os.close(handle)


@contextlib.contextmanager
def lock(parent: Path) -> Iterator[None]:
    """One process at a time, for moments only."""
    with (parent / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def publish(draft: Path, target: Path) -> None:
    """Gives a draft its name, for good. The caller holds the lock and has looked that the name is free."""
    for path in draft.iterdir():
        _sync(path)
    sync_folder(draft)
    target.parent.mkdir(exist_ok=True)
    draft.rename(target)
    sync_folder(target.parent)
    sync_folder(target.parent.parent)


def _remove_unless_used(draft: Path) -> None:
    handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(draft)
    except BlockingIOError:
        return
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
