"""submit, status, results, verify, cancel."""

import json
from pathlib import Path

from tests import megadetector_rules
from tests.acceptance.command import Command
from tests.waiting import wait_for

ENDED = {"completed", "cancelled", "failed"}


def _job(ran_out: str) -> str:
    (job,) = ran_out.split()
    return job


def test_submit_wait_and_verify(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """submit prints the id alone; results copies the file; verify proves it against the folder."""
    submitted = trapstream("submit", scenes, "--name", "spring 2026", "--wait")
    assert submitted.status == 0, submitted.err
    job = _job(submitted.out)
    status = trapstream.status(job)
    assert status["state"] == "completed"
    assert status["counts"]["detected"] + status["counts"]["empty"] == status["total"] == 120
    output = tmp_path / "results.json"
    assert trapstream("results", job, "-o", output).status == 0
    assert trapstream("results", job).out.encode() == output.read_bytes()
    verified = trapstream("verify", output, "--manifest", scenes)
    assert verified.status == 0, verified.err
    assert "120" in verified.out


def test_verify_names_what_is_wrong(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """A missing, a doubled and an unknown image are each named, and the exit status is 4."""
    output = tmp_path / "results.json"
    assert trapstream("run", scenes, "-o", output).status == 0
    result = json.loads(output.read_text())
    gone, doubled = result["images"][3], result["images"][7]
    result["images"].remove(gone)
    result["images"].append(doubled)
    result["images"].append({"file": "stranger.jpg", "detections": []})
    output.write_text(json.dumps(result))
    verified = trapstream("verify", output, "--manifest", scenes)
    assert verified.status == 4
    for name in (gone["file"], doubled["file"], "stranger.jpg"):
        assert name in verified.out


def test_the_live_lane(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """A handful of files goes by the live lane and ends like any other job."""
    few = sorted(scenes.glob("*.jpg"))[:3]
    output = tmp_path / "live.json"
    submitted = trapstream("submit", *few, "--lane", "live", "--wait", "-o", output)
    assert submitted.status == 0, submitted.err
    assert len(json.loads(output.read_text())["images"]) == 3


def test_cancel_and_partial_results(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """Partial results are the final format, marked; a cancelled job ends soon and says so."""
    listed = tmp_path / "many.jsonl"
    one = min(scenes.glob("*.jpg"))
    listed.write_text("".join(json.dumps({"file": f"{n:05}.jpg", "uri": str(one)}) + "\n" for n in range(5_000)))
    job = _job(trapstream("submit", listed).out)
    wait_for("a first result", lambda: sum_of(trapstream.status(job)) > 0)
    partial = tmp_path / "partial.json"
    assert trapstream("results", job).status == 4
    assert trapstream("results", job, "--partial", "-o", partial).status == 0
    assert megadetector_rules.check(partial) == []
    assert json.loads(partial.read_text())["info"]["custom_metadata"]["trapstream"]["complete"] is False
    cancelled = trapstream("cancel", job)
    assert cancelled.status == 0, cancelled.err
    assert trapstream.status(job)["state"] == "cancelled"
    output = tmp_path / "cancelled.json"
    assert trapstream("results", job, "-o", output).status == 0
    assert 0 < len(json.loads(output.read_text())["images"]) < 5_000
    assert trapstream("verify", output, "--manifest", listed).status == 4


def sum_of(status: dict) -> int:  # type: ignore[type-arg]  # the command's own JSON
    """Images with an entry."""
    counts = status["counts"]
    return int(counts["detected"] + counts["empty"] + sum(counts["failed"].values()))
