"""What goes wrong before any work starts: one line that says what to do, and the exit status of its kind."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.command import Command
from tests.acceptance.conftest import command_for
from tests.waiting import patient


@pytest.mark.parametrize("verb", ["status", "results", "cancel"])
def test_no_such_job(trapstream: Command, verb: str) -> None:
    """A job that does not exist is named, with the exit status of a failure."""
    ran = trapstream(verb, "no-such-job")
    assert ran.status == 1
    assert "no-such-job" in ran.line()


@pytest.mark.parametrize("verb", ["status", "submit", "cancel"])
def test_no_stack(tmp_path: Path, verb: str) -> None:
    """Without a stack the user is told how to start one, with the exit status of what could not start."""
    ran = command_for(tmp_path)(verb, "something")
    assert ran.status == 3
    assert "trapstream up" in ran.line()


def test_usage(trapstream: Command) -> None:
    """Wrong usage has its own exit status."""
    assert trapstream("run").status == 2
    assert trapstream("no-such-verb").status == 2
    assert trapstream("run", ".", "-o", "x.json", "--threshold", "7").status == 2


def test_sources_that_hold_nothing(trapstream: Command, tmp_path: Path) -> None:
    """A folder without images, a path that is not there, an empty list: said before any work."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt.bak").write_text("x")
    (tmp_path / "empty.txt").write_text("\n\n")
    for source in ("folder", "missing", "empty.txt"):
        ran = trapstream("run", tmp_path / source, "-o", tmp_path / "results.json")
        assert ran.status == 1, source
        assert source in ran.line()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    "text",
    ['["a.jpg", ', '{"a": 1}', '["a.jpg", 7]', '[["a.jpg", "meta", "more"]]'],
    ids=["cut", "object", "number", "three"],
)
def test_a_manifest_that_is_none(trapstream: Command, tmp_path: Path, text: str) -> None:
    """A JSON manifest with another content is refused as a whole, with what was expected."""
    (tmp_path / "list.json").write_text(text)
    ran = trapstream("run", tmp_path / "list.json", "-o", tmp_path / "results.json")
    assert ran.status == 1
    assert "list.json" in ran.line()


def test_output_that_cannot_be(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """A result file that is a folder, or below a file, or no regular file, is refused before any work."""
    (tmp_path / "file").write_text("x")
    for output in (tmp_path, tmp_path / "file" / "results.json", Path("/dev/null")):
        ran = trapstream("run", scenes, "-o", output)
        assert ran.status == 1, output
        assert str(output) in ran.line()
    assert Path("/dev/null").is_char_device()


def test_a_full_disk_for_the_result(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """A result that cannot be written names the place where it is safe, and leaves no half of a file."""
    output = tmp_path / "results.json"
    job = trapstream("submit", scenes, "--wait").out.strip()
    line = " ".join(f"'{each}'" for each in trapstream.arguments("results", job, "-o", output))
    # A limit on the size of files is a full disk that needs no privilege; the stack, which is up, does not have it.
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 4; trap '' XFSZ; {line}"],
        env=trapstream.environment, capture_output=True, text=True, timeout=patient(40), check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "safe in" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_model(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """A model that is not there is named, with those that are."""
    ran = trapstream("run", scenes, "-o", tmp_path / "results.json", "--model", "yeti")
    assert ran.status == 1
    assert "yeti" in ran.line() and "demonstration" in ran.line()


def test_ps_and_json(trapstream: Command) -> None:
    """ps --json names every process and endpoint of the stack."""
    listed = json.loads(trapstream("ps", "--json").out)
    assert {process["name"] for process in listed["processes"]} >= {
        "kafka", "triton", "producer", "consumer", "aggregator",
    }  # fmt: skip
    assert {"kafka", "triton-grpc", "triton-metrics"} <= set(listed["endpoints"])
