"""run: the main job, as a user calls it."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from tests import images, megadetector_rules
from tests.acceptance.command import Command


def _entries(path: Path) -> dict[str, dict]:  # type: ignore[type-arg]  # entries are the file's own JSON
    listed = json.loads(path.read_text())["images"]
    found = {entry["file"]: entry for entry in listed}
    assert len(found) == len(listed), "an image stands twice"
    return found


def test_scenes_give_one_whole_file(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """Every scene has its entry, the file obeys the format, and a contact sheet shows the surest."""
    output = tmp_path / "results.json"
    ran = trapstream("run", scenes, "-o", output)
    assert ran.status == 0, ran.err
    assert len(_entries(output)) == 120
    assert megadetector_rules.check(output) == []
    with Image.open(output.with_suffix(".png")) as sheet:
        assert sheet.width > 480
    assert "images                  120" in ran.out


def test_the_same_folder_gives_the_same_bytes(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """Two runs over one folder end in identical files."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert trapstream("run", scenes, "-o", first).status == 0
    assert trapstream("run", scenes, "-o", second).status == 0
    assert first.read_bytes() == second.read_bytes()


def test_real_photographs(trapstream: Command, photographs: Path, tmp_path: Path) -> None:
    """The thirteen photographs have thirteen entries, each once, by every rule of the format."""
    output = tmp_path / "results.json"
    assert trapstream("run", photographs, "-o", output).status == 0
    assert len(_entries(output)) == 13
    assert not [entry for entry in _entries(output).values() if "failure" in entry]
    assert megadetector_rules.check(output) == []


BAD = {
    "text.jpg": (b"this is no image\n" * 40, "not an image"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "not an image"),
    "empty.jpg": (b"", "empty file"),
    "bomb.png": (images.bomb(), "too many pixels"),
    "scans.jpg": (images.many_scans(90_000), "too costly to decode"),
}
GOOD = {
    "truncated.jpg": images.truncated(images.jpeg(640, 480, 1), 0.5),
    "gif.jpg": images.encode(images.scene(320, 240), "GIF"),
    "cmyk.jpg": images.cmyk(),
    "grey.jpg": images.grey(),
    "sixteen.png": images.grey16(),
    "palette.png": images.palette(),
    "one.png": images.png(1, 1),
    "wide.png": images.png(20_000, 30),
    **{f"turned-{number}.jpg": images.oriented(number) for number in range(1, 9)},
    "name with spaces.jpg": images.jpeg(64, 48, 2),
    'it\'s "quoted".jpg': images.jpeg(64, 48, 3),
    "new\nline.jpg": images.jpeg(64, 48, 4),
    "emoji-\N{FOX FACE}.jpg": images.jpeg(64, 48, 5),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file that has broken another system, and a symlink loop."""
    folder = tmp_path_factory.mktemp("zoo")
    for name, data in {name: data for name, (data, _) in BAD.items()}.items():
        (folder / name).write_bytes(data)
    for name, data in GOOD.items():
        (folder / name).write_bytes(data)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(images.jpeg(64, 48, 6))
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(folder)
    return folder


def test_bad_images_cost_their_own_entry(trapstream: Command, zoo: Path, tmp_path: Path) -> None:
    """What can be decoded is; the rest fails with its reason; nothing else is affected."""
    output = tmp_path / "results.json"
    ran = trapstream("run", zoo, "-o", output)
    assert ran.status == 0, ran.err
    entries = _entries(output)
    assert set(entries) == set(BAD) | set(GOOD) | {"caf\\xe9.jpg"}
    failed = {name: entry["failure"] for name, entry in entries.items() if "failure" in entry}
    assert set(failed) == set(BAD)
    for name, (_, reason) in BAD.items():
        assert failed[name].startswith("image access failure") and reason in failed[name]
        assert entries[name]["detections"] is None
    assert megadetector_rules.check(output) == []
    assert trapstream("run", zoo, "-o", output, "--strict").status == 5


def test_lists_of_every_form(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """Text, JSON, JSON with meta, JSONL and standard input name images; a missing one becomes its own failure."""
    first, second = sorted(scenes.glob("*.jpg"))[:2]
    (tmp_path / "near.jpg").write_bytes(first.read_bytes())
    forms = {
        "list.txt": f"near.jpg\n\n{second}\n{second}\nmissing.jpg\n",
        "list.json": json.dumps(["near.jpg", str(second), "missing.jpg"]),
        "meta.json": json.dumps([["near.jpg", '{"x": 1}'], [str(second), "b"], ["missing.jpg", "c"]]),
        "list.jsonl": "".join(
            json.dumps({"file": name, "uri": uri}) + "\n"
            for name, uri in (("near.jpg", "near.jpg"), (str(second), str(second)), ("missing.jpg", "missing.jpg"))
        ),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        output = tmp_path / f"{name}.results.json"
        ran = trapstream("run", tmp_path / name, "-o", output)
        assert ran.status == 0, (name, ran.err)
        entries = _entries(output)
        assert list(entries) == ["near.jpg", str(second), "missing.jpg"], name
        assert entries["missing.jpg"]["failure"].startswith("image access failure: not found")
        if name == "meta.json":
            assert entries["near.jpg"]["meta"] == '{"x": 1}'
    output = tmp_path / "stdin.json"
    assert trapstream("run", "-", "-o", output, stdin="near.jpg\n", cwd=tmp_path).status == 0
    assert list(_entries(output)) == ["near.jpg"]
