"""kill -9 in mid-job ends in the same file."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.acceptance.command import Command
from tests.acceptance.test_jobs import sum_of
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def undisturbed(trapstream: Command, listed: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the same images when nothing happens."""
    output = tmp_path_factory.mktemp("undisturbed") / "results.json"
    assert trapstream("run", listed, "-o", output).status == 0
    return output.read_bytes()


@pytest.fixture(scope="module")
def listed(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list that names each scene five times under other names: a job that lasts some seconds."""
    path = tmp_path_factory.mktemp("listed") / "list.jsonl"
    lines = [
        {"file": f"{turn}/{scene.name}", "uri": str(scene)}
        for turn in range(5)
        for scene in sorted(scenes.glob("*.jpg"))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("victim", ["consumer", "aggregator", "producer", "triton", "kafka"])
def test_killed_in_mid_job(trapstream: Command, listed: Path, undisturbed: bytes, tmp_path: Path, victim: str) -> None:
    """A process killed once in mid-job is started again, and the file has the same bytes."""
    before = trapstream.processes()[victim]
    submitted = trapstream("submit", listed)
    assert submitted.status == 0, submitted.err
    job = submitted.out.strip()
    if victim != "producer":
        wait_for("a first result", lambda: sum_of(trapstream.status(job)) > 20)
    os.kill(before["pid"], signal.SIGKILL)
    wait_for("the end of the killed process", lambda: not psutil.pid_exists(before["pid"]))
    wait_for("the restart", lambda: trapstream.processes()[victim]["restarts"] > before["restarts"])
    wait_for("the job's end", lambda: trapstream.status(job)["state"] == "completed", 120)
    output = tmp_path / "results.json"
    assert trapstream("results", job, "-o", output).status == 0
    assert output.read_bytes() == undisturbed
