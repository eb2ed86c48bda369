"""What the verbs say of files that are left out, and of lists that fit nothing."""

import json
from pathlib import Path

import pytest

from trapstream.cli import main as command

RESULT = {"info": {}, "detection_categories": {}, "images": [{"file": "a.jpg", "detections": []}]}


def test_verify_counts_what_was_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By kind, once each, on standard error and as JSON; the file is complete all the same."""
    photos, result = tmp_path / "photos", tmp_path / "r.json"
    for name in ("a.jpg", "b.MP4", "c.mp4", "d.heic", "#recycle/a.jpg", ".a.jpg.icloud"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).touch()
    result.write_text(json.dumps(RESULT))
    assert command.main(["--home", str(tmp_path), "verify", str(result), "--manifest", str(photos)]) == 0
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 4
    assert [line.split()[:2] for line in sorted(said)] == [
        ["1", "files"], ["1", "pictures"], ["1", "recycle"], ["2", "videos"],
    ]  # fmt: skip
    command.main(["--home", str(tmp_path), "verify", str(result), "--json", "--manifest", str(photos)])
    assert sum(json.loads(capfd.readouterr().out)["left_out"].values()) == 5


@pytest.mark.parametrize("text", ["E:\\2026\\a.jpg\r\n", "nowhere/a.jpg\n"])
def test_a_list_that_fits_nothing_starts_no_stack(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str) -> None:
    """One line, a status that is not 0, and no state folder."""
    listed, home = tmp_path / "list.txt", tmp_path / "home"
    listed.write_text(text)
    assert command.main(["--home", str(home), "run", str(listed), "-o", str(tmp_path / "r.json")]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "a.jpg" in said and "--anyway" in said
    assert not home.exists() and not (tmp_path / "r.json").exists()
