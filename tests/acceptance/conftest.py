"""One stack for all acceptance tests, brought up by the command as a user would."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Command
from trapstream.scenes.scene import write_scenes


def command_for(home: Path, **more: str) -> Command:
    """A command with a home of its own and no setting of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAPSTREAM_")}
    kept |= {name: os.environ[name] for name in ("TRAPSTREAM_CACHE",) if name in os.environ}
    return Command(home, kept | more)


@pytest.fixture(scope="session")
def trapstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command on a stack that is up; its consumers and webhooks may reach the tests' own web servers."""
    command = command_for(
        tmp_path_factory.mktemp("acceptance"),
        TRAPSTREAM_ALLOW_PRIVATE_NETWORKS="true",
        TRAPSTREAM_ALLOW_PRIVATE_WEBHOOKS="true",
        TRAPSTREAM_FETCH_SECONDS="3",
        TRAPSTREAM_FETCH_ATTEMPTS="2",
        TRAPSTREAM_REPAIR_SECONDS="2",
    )
    up = command("up", "-d")
    assert up.status == 0, up.err
    yield command
    down = command("down")
    assert down.status == 0, down.err


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of 120 drawn scenes: drawn once, by the first of several workers that needs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "scenes"
    with folder.with_name("scenes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_name("scenes.draft")
            shutil.rmtree(draft, ignore_errors=True)  # of a worker that was killed
            list(write_scenes(draft, 120, seed=20_001, size=(640, 480)))
            draft.rename(folder)
    return folder
