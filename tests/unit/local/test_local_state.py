"""stack.json, the supervisor's back-off, log rotation and the lock."""

import itertools
import os
from pathlib import Path

import pytest

from trapstream.local import claim, processes, state, supervise
from trapstream.local.home import default_home, stack_file
from trapstream.local.state import Process, Stack


def a_stack(home: Path) -> Stack:
    return Stack(
        home=str(home),
        state="up",
        supervisor=processes.identify(os.getpid(), "supervisor"),
        processes=(Process(name="kafka", pid=1, created=2.5, state="up", restarts=3, last_exit="signal 9"),),
        endpoints={"kafka": "127.0.0.1:1"},
        ports={"kafka": 1},
        shm_prefix="trapstream-x-",
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    state.write(tmp_path, a_stack(tmp_path))
    assert state.read(tmp_path) == a_stack(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"home": 1}', '{"supervisor": {"name": "x", "new": 1}}'])
def test_a_file_of_another_version_counts_as_none(tmp_path: Path, text: str) -> None:
    stack_file(tmp_path).write_text(text)
    assert state.read(tmp_path) is None


def test_a_process_is_named_by_pid_and_create_time() -> None:
    me = processes.identify(os.getpid(), "me")
    assert processes.find(me) is not None
    assert processes.find(Process(name="another", pid=me.pid, created=(me.created or 0) - 100)) is None
    assert processes.find(Process(name="none")) is None


def test_back_off_grows_to_five_seconds() -> None:
    seconds = list(itertools.islice(supervise._delays(), 12))
    assert seconds[0] == 0.1
    assert seconds[1] < 1.3
    assert max(seconds) < 6.5
    assert min(seconds[5:]) > 3


def test_the_lock_names_its_holder_and_ends(tmp_path: Path) -> None:
    assert claim.supervisor(tmp_path) is None
    with claim.claimed(tmp_path):
        holder = claim.supervisor(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
        with pytest.raises(claim.AlreadyRunning), claim.claimed(tmp_path):
            pass
    assert claim.supervisor(tmp_path) is None


def test_only_the_own_prefix_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SHM", tmp_path)
    for name in ("trapstream-a-1", "trapstream-a-2", "trapstream-b-1", "sem.other"):
        (tmp_path / name).touch()
    assert processes.sweep("trapstream-a-") == 2
    assert processes.sweep("") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sem.other", "trapstream-b-1"]


def test_home_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("TRAPSTREAM_HOME", str(tmp_path / "link"))
    assert default_home() == tmp_path / "real", "two names of one folder are one stack"
