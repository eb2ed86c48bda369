"""submit, status, results, verify, cancel."""

import json
import shutil
from pathlib import Path

import pytest

from tests import megadetector_rules
from tests.acceptance.command import Command
from tests.waiting import wait_for
from trapstream.cli.main import main

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
    assert "published 120 = " in verified.out
    assert "published 120 = " in trapstream("status", job).out
    own = trapstream("verify", output, "--job", job)
    assert own.status == 0, own.err
    assert own.out == verified.out


def test_a_job_that_does_not_fit_is_refused(
    trapstream: Command, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With too little free disk submit says so in one line and makes no job; the disk alone is not the real one."""
    before = trapstream("status", "--json").out
    usage = shutil.disk_usage(trapstream.home)._replace(free=1_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        assert main(["--home", str(trapstream.home), "submit", str(scenes)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "make room" in said.err and "120 images" in said.err
    assert trapstream("status", "--json").out == before


def test_verify_holds_a_file_against_its_job(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """A file whose head was changed is complete, but not the file that its job ended with."""
    output = tmp_path / "results.json"
    submitted = trapstream("submit", scenes, "--wait", "-o", output)
    assert submitted.status == 0, submitted.err
    text = output.read_text()
    changed = text.replace('"version":"', '"version":"0', 1)
    assert changed != text
    output.write_text(changed)
    assert trapstream("verify", output, "--manifest", scenes).status == 0
    verified = trapstream("verify", output, "--job", _job(submitted.out))
    assert verified.status == 4
    assert "sha256" in verified.err
    assert trapstream("verify", output).status == 2
    assert trapstream("verify", output, "--job", "nobody").status == 1


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
    """Partial results are the final format, marked; a cancelled job with a long backlog ends before it is done, says
    so, and leaves the lane to the next one."""
    listed = tmp_path / "many.jsonl"
    one = min(scenes.glob("*.jpg"))
    listed.write_text("".join(json.dumps({"file": f"{n:05}.jpg", "uri": str(one)}) + "\n" for n in range(50_000)))
    job = _job(trapstream("submit", listed).out)
    wait_for("a first result", lambda: sum_of(trapstream.status(job)) > 0)
    partial = tmp_path / "partial.json"
    assert trapstream("results", job).status == 4
    assert trapstream("results", job, "--partial", "-o", partial).status == 0
    assert megadetector_rules.check(partial) == []
    assert json.loads(partial.read_text())["info"]["custom_metadata"]["trapstream"]["complete"] is False
    assert "to come" in trapstream("status", job).out
    cancelled = trapstream("cancel", job)
    assert cancelled.status == 0, cancelled.err
    assert "of 50,000 images done" in cancelled.err
    assert trapstream.status(job)["state"] == "cancelled"
    output = tmp_path / "cancelled.json"
    assert trapstream("results", job, "-o", output).status == 0
    done = len(json.loads(output.read_text())["images"])
    assert 0 < done < 25_000
    verified = trapstream("verify", output, "--manifest", listed)
    assert verified.status == 4
    assert f"the job was cancelled: {50_000 - done:,} of 50,000 images are missing" in verified.err
    assert trapstream("submit", one, "--wait").status == 0
    assert sum_of(trapstream.status(job)) == done


def sum_of(status: dict) -> int:  # type: ignore[type-arg]  # the command's own JSON
    """Images with an entry."""
    counts = status["counts"]
    return int(counts["detected"] + counts["empty"] + sum(counts["failed"].values()))
