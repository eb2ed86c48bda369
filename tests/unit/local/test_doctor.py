"""The doctor's judgements, on machines that are not this one."""

import json
from pathlib import Path

import pytest

from trapstream.cli import main as command
from trapstream.local import doctor

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("check", "level"),
    [
        (doctor.environment({"consumer": ["trapstream", "trapstream"], "numpy": ["numpy"]}), "ok"),
        (doctor.environment({"consumer": ["trapstream", "queues"]}), "missing"),
        (doctor.disk(GB // 2), "missing"),
        (doctor.disk(5 * GB), "note"),
        (doctor.disk(50 * GB), "ok"),
        (doctor.shared_memory(None), "missing"),
        (doctor.shared_memory(64 << 20), "missing"),
        (doctor.shared_memory(GB), "ok"),
        (doctor.memory(GB), "missing"),
        (doctor.memory(3 * GB), "note"),
        (doctor.memory(8 * GB), "ok"),
    ],
)
def test_judgement(check: doctor.Check, level: str) -> None:
    assert check.level == level
    assert check.found
    assert bool(check.remedy) or level != "missing", "whoever misses something is told how to get it"


def test_a_jar_folder_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    assert doctor.jars_cached(tmp_path).level == "note"


def test_uploads_and_how_to_have_them_removed(tmp_path: Path) -> None:
    """It says what they take, and names the setting where there are any."""
    assert doctor.uploads(tmp_path).remedy == ""
    image = tmp_path / "results" / "incoming" / "ab" / "image.jpeg"
    image.parent.mkdir(parents=True)
    image.write_bytes(bytes(3_000_000))
    check = doctor.uploads(tmp_path)
    assert check.level == "ok" and "3 MB" in check.found and "TRAPSTREAM_UPLOAD_KEEP_DAYS" in check.remedy


def test_a_home_that_does_not_exist_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    assert doctor.writable(tmp_path / "a" / "b").level == "ok"
    assert not (tmp_path / "a").exists()


def test_the_command_answers_with_json_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = command.main(["--home", str(tmp_path), "doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert status == (0 if answer["ok"] else 3)
    assert {"environment", "libpython", "kafka", "home", "disk", "shared memory", "gpu"} <= {
        check["name"] for check in answer["checks"]
    }


def test_a_gpu_without_its_packages_is_told_of_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nvidia-smi lists a GPU and TensorRT is not installed, the doctor names what brings it."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Some GPU, 580.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.gpu()
    assert (check.level, "Some GPU" in check.found, "trapstream[gpu]" in check.remedy) == ("note", True, True)
