"""kill -9 in mid-job ends in the same file."""

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.acceptance.command import Command
from tests.acceptance.test_jobs import sum_of
from tests.losing import lose
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


def test_lost_references(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """References deleted from Kafka before a consumer reads them come again: the job ends complete, the same bytes."""
    few, before, after = sorted(scenes.glob("*.jpg"))[:40], tmp_path / "before.json", tmp_path / "after.json"
    assert trapstream("submit", *few, "--wait", "-o", before).status == 0
    listed = json.loads(trapstream("ps", "--json").out)
    consumer = {process["name"]: process["pid"] for process in listed["processes"]}["consumer"]
    os.kill(consumer, signal.SIGSTOP)
    try:
        submitted = trapstream("submit", *few)
        assert submitted.status == 0, submitted.err
        job = submitted.out.strip()
        wait_for("the seal", lambda: trapstream.status(job)["total"])
        assert asyncio.run(lose(listed["endpoints"]["kafka"])) >= len(few)
    finally:
        os.kill(consumer, signal.SIGCONT)
    wait_for("the job's end", lambda: trapstream.status(job)["state"] == "completed", 120)
    assert trapstream("results", job, "-o", after).status == 0
    assert after.read_bytes() == before.read_bytes()
    verified = trapstream("verify", after, "--job", job)
    assert verified.status == 0, verified.err
