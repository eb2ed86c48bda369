"""The stack from the outside, on the real thing: it comes up, survives what is killed, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.stacks import RunningStack
from tests.waiting import patient
from trapstream.local import control, processes, state
from trapstream.local.home import shm_prefix

COMMAND = [sys.executable, "-m", "trapstream.cli.main"]


def trapstream(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "--home", str(home), *arguments], capture_output=True, text=True, check=False)


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + patient(seconds)
    poll = psutil.Process()
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        poll.cpu_percent(interval=0.05)


def nothing_is_left(home: Path) -> bool:
    prefix = shm_prefix(home)
    return processes.leftovers(prefix) == [] and processes.regions(prefix) == []


def stack_of(home: Path) -> state.Stack:
    return state.read(home) or pytest.fail("no state")


@pytest.fixture
def home(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAPSTREAM_BUNDLE", str(bundle))
    return tmp_path / "José's $home, no. 1"  # a home may be called anything


def test_ps_and_a_second_up_on_a_stack_that_runs(stack: RunningStack) -> None:
    shown = json.loads(trapstream(stack.home, "ps", "--json").stdout)
    assert [each["name"] for each in shown["processes"]] == ["kafka", "triton"]
    assert all(each["state"] == "up" and each["rss"] > 1e7 and each["uptime"] > 0 for each in shown["processes"])
    assert shown["endpoints"]["kafka"] == stack.kafka
    again = trapstream(stack.home, "up", "-d", "--services", "")
    assert again.returncode == 0
    assert "running already" in again.stderr
    assert stack.triton in again.stdout


def test_killed_servers_come_back_where_they_were(stack: RunningStack) -> None:
    before = stack_of(stack.home)
    regions = set(processes.regions(f"{stack.shm_prefix}backend-"))
    assert regions
    for name in ("kafka", "triton"):
        os.kill(before.process(name).pid or pytest.fail(name), signal.SIGKILL)
    wait_for(
        lambda: all(
            p.state == "up" and p.restarts > before.process(p.name).restarts for p in stack_of(stack.home).processes
        )
    )
    after = stack_of(stack.home)
    assert after.endpoints == before.endpoints
    assert {p.last_exit for p in after.processes} == {"signal 9"}
    assert not regions & set(processes.regions(stack.shm_prefix)), "a killed Triton's regions are removed"
    assert "died (signal 9)" in trapstream(stack.home, "logs", "supervisor").stdout


def two_ups_at_once(home: Path) -> state.Stack:
    """They make one stack, and both name its endpoints."""
    command = [*COMMAND, "--home", str(home), "up", "-d", "--services", ""]
    ups = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [up.communicate(timeout=patient(60)) for up in ups]
    assert [up.returncode for up in ups] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    return stack_of(home)


async def test_after_a_killed_supervisor_up_cleans_up_and_the_data_is_there(home: Path, stack: RunningStack) -> None:
    first = two_ups_at_once(home)
    admin = AIOKafkaAdminClient(bootstrap_servers=first.endpoints["kafka"])
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    supervisor = psutil.Process(first.supervisor.pid)
    supervisor.kill()
    processes.wait_gone([supervisor], 10)
    second = control.up(home, print, services=())
    assert second.endpoints == first.endpoints
    assert {p.pid for p in second.processes}.isdisjoint({p.pid for p in first.processes})
    admin = AIOKafkaAdminClient(bootstrap_servers=second.endpoints["kafka"])
    await admin.start()
    assert "kept" in await admin.list_topics()
    await admin.close()
    psutil.Process(second.supervisor.pid).kill()
    assert trapstream(home, "down").returncode == 0
    assert nothing_is_left(home)
    # The stack beside it, in a home of its own, has noticed nothing of all this.
    beside = stack_of(stack.home)
    assert control.running(stack.home) == beside
    assert beside.state == "up"
    assert len(processes.regions(stack.shm_prefix)) > 0


@pytest.mark.parametrize("moment", ["triton: starting", "the stack is up"])
def test_ctrl_c_leaves_nothing(home: Path, moment: str) -> None:
    command = [*COMMAND, "--home", str(home), "up", "--services", ""]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert up.stderr is not None
    said = next((line for line in up.stderr if line.startswith(moment)), "")
    assert said, "it ended before"
    up.send_signal(signal.SIGINT)
    output, errors = up.communicate(timeout=patient(60))
    assert up.returncode == 0, errors
    assert "Traceback" not in errors
    assert nothing_is_left(home)
    assert ("triton-grpc" in output) == (moment == "the stack is up")
    assert json.loads(trapstream(home, "ps", "--json").stdout)["state"] == "down"


def test_a_model_that_cannot_be_loaded_is_told(
    home: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "card.json").write_bytes((bundle / "card.json").read_bytes())
    (broken / "model.onnx").write_bytes(b"no graph")
    monkeypatch.setenv("TRAPSTREAM_BUNDLE", str(broken))
    answer = trapstream(home, "up", "-d", "--services", "")
    assert answer.returncode == 3
    assert "cannot be served" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert nothing_is_left(home)


def test_the_command_among_folders_called_as_packages(
    home: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up -d` and its supervisor run from where they are installed, and a relative path is of the user's folder."""
    here = tmp_path / "here"
    for folder in (here, home):
        for name in ("trapstream", "consumer", "model_repository"):
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text("raise SystemExit('this is no part of Trapstream')\n")
    (here / "broken").mkdir()
    (here / "broken" / "card.json").write_bytes((bundle / "card.json").read_bytes())
    (here / "broken" / "model.onnx").write_bytes(b"no graph")
    monkeypatch.setenv("TRAPSTREAM_BUNDLE", "broken")
    monkeypatch.chdir(here)
    command = [str(Path(sys.executable).with_name("trapstream")), "--home", str(home), "up", "-d"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 3
    assert str(here / "broken") in answer.stderr
    assert "no part of Trapstream" not in answer.stderr


def test_a_passing_stack_goes_with_the_process_that_wanted_it(home: Path) -> None:
    """Killed with -9, so that it can take nothing down itself."""
    code = (
        "import pathlib, sys; from trapstream.local import control;"
        "control.up(pathlib.Path(sys.argv[1]), print, services=(), passing=True); print('done', flush=True); input()"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    assert any(line == "done\n" for line in user.stdout)
    user.kill()
    user.communicate()
    wait_for(lambda: control.running(home) is None)
    assert nothing_is_left(home)


def test_ctrl_c_while_downloading_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository accepts the connection and says nothing, as a broken line does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TRAPSTREAM_MAVEN", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("TRAPSTREAM_CACHE", str(tmp_path / "cache"))
        up = subprocess.Popen([*COMMAND, "--home", str(home), "up"], stderr=subprocess.PIPE, text=True)
        assert up.stderr is not None
        assert any("downloading" in line for line in up.stderr)
        supervisor = psutil.Process(up.pid)
        wait_for(lambda: len(supervisor.children()) == 1)
        (download,) = supervisor.children()
        up.send_signal(signal.SIGINT)
        _, errors = up.communicate(timeout=patient(30))
    assert "Traceback" not in errors
    assert up.returncode == 0
    assert not download.is_running()
    assert nothing_is_left(home)
    assert not list((tmp_path / "cache").glob("kafka-?.?.?"))
