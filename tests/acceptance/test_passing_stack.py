"""run where no stack is up: it brings one up and takes it down again."""

import json
import signal
from pathlib import Path

import psutil

from tests.acceptance.command import Command
from tests.acceptance.conftest import command_for
from tests.acceptance.test_jobs import sum_of
from tests.waiting import patient, wait_for


def test_ctrl_c_ends_the_job_and_the_stack(scenes: Path, tmp_path: Path) -> None:
    """Interrupted, run says so, writes no half of a file, and takes down the stack that it had brought up."""
    listed = tmp_path / "many.jsonl"
    one = min(scenes.glob("*.jpg"))
    listed.write_text("".join(json.dumps({"file": f"{n:05}.jpg", "uri": str(one)}) + "\n" for n in range(20_000)))
    command = command_for(tmp_path / "home")
    output = tmp_path / "results.json"
    running = command.start("run", listed, "-o", output)
    wait_for("the job", lambda: _some_done(command))
    pids = [process["pid"] for process in command.processes().values()]
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=patient(40))
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted: many-jsonl" in said, said
    assert not output.exists()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def _some_done(command: Command) -> bool:
    ran = command("status", "--json")
    return ran.status == 0 and any(sum_of(json.loads(line)) for line in ran.out.splitlines())


def test_two_runs_share_a_passing_stack(scenes: Path, tmp_path: Path) -> None:
    """Two runs at once in one home both end well, whichever brought the stack up, and nothing of it is left."""
    command = command_for(tmp_path / "home")
    long, short = tmp_path / "long.json", tmp_path / "short.json"
    first = command.start("run", *sorted(scenes.glob("*.jpg"))[:3], "-o", short)
    wait_for("the first one's stack", (tmp_path / "home" / "stack.json").exists)
    second = command.start("run", scenes, "-o", long)
    for running in (first, second):
        _, said = running.communicate(timeout=patient(40))
        assert running.returncode == 0, said
    assert len(json.loads(short.read_text())["images"]) == 3
    assert len(json.loads(long.read_text())["images"]) == 120
    assert json.loads((tmp_path / "home" / "stack.json").read_text())["state"] == "down"
