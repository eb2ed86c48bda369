"""Ctrl-C in the middle of run."""

import json
import signal
from pathlib import Path

import psutil

from tests.acceptance.command import Command
from tests.acceptance.conftest import command_for
from tests.waiting import wait_for


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
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted: many-jsonl" in said, said
    assert not output.exists()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def _some_done(command: Command) -> bool:
    ran = command("status", "--json")
    return ran.status == 0 and any(
        json.loads(line)["counts"]["empty"] + json.loads(line)["counts"]["detected"] for line in ran.out.splitlines()
    )
