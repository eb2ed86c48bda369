"""Beside MegaDetector's batch script: what both commands say is read, and two files are held against each other."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.stacks import BenchError
from bench.tools.incumbent import called, read_ours, read_script
from bench.tools.same_answers import compare_files

WIDTH, HEIGHT = 2048, 1536


def detection(left: int, right: int, conf: float = 0.9, category: str = "1") -> dict[str, Any]:
    """An object from column `left` to `right`, rows 300 to 900, as either program writes it: cut to four decimals."""
    shares = (left / WIDTH, 300 / HEIGHT, (right - left) / WIDTH, 600 / HEIGHT)
    return {"category": category, "conf": conf, "bbox": [int(share * 10_000) / 10_000 for share in shares]}


def written(path: Path, *images: list[dict[str, Any]] | None) -> Path:
    """A result file of images 0, 1, ..."""
    entries = [
        {"file": f"{number}.jpg", "width": WIDTH, "height": HEIGHT, "detections": found}
        for number, found in enumerate(images)
    ]
    path.write_text(json.dumps({"images": entries}))
    return path


@pytest.mark.parametrize(
    ("loaded", "rate"),
    [
        ("Loaded model in 4 seconds\n", 6.5),
        ("Loaded model (before queueing) in 500 milliseconds, printing updates every 1000 images\n", 260 / 43.5),
        ("", 260 / 44),
    ],
)
def test_the_scripts_own_line_tells_its_rate(loaded: str, rate: float) -> None:
    """Of what the script prints come the images and the rate, without the loading of the model where it tells that."""
    said = f"{loaded}Finished inference for 260 images in 44 seconds ({260 / 44:.6f} images per second)\nDone!\n"
    images, found = read_script(said)
    assert images == 260
    assert found == pytest.approx(rate, rel=1e-6)


def test_our_summary_tells_our_rate() -> None:
    """Of what `trapstream run` prints come the images and the rate."""
    assert read_ours("images 1,260\nempty 3\nimages/s  1,015.3\nresult file  x\n") == (1260, 1015.3)


@pytest.mark.parametrize("read", [read_ours, read_script])
def test_a_side_that_says_nothing_is_no_figure(read: Any) -> None:
    """Without its line there is no rate, and the error has the end of what was said."""
    with pytest.raises(BenchError, match="no such model"):
        read("no such model")


def test_a_command_is_timed_and_weighed_with_its_children(tmp_path: Path) -> None:
    """Output, seconds and memory are those of the command and of what it starts."""
    child = "import time; held = bytes([7]) * 60_000_000; time.sleep(1.3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('done')"
    said, seconds, memory = called([sys.executable, "-c", parent], tmp_path / "log")
    assert said == "done\n"
    assert 1.3 < seconds < 60
    assert 60_000_000 < memory < 300_000_000


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    """It ends the comparison with the status and the last line."""
    with pytest.raises(BenchError, match="ended with 3: no weights"):
        called([sys.executable, "-c", "import sys; print('no weights'); sys.exit(3)"], tmp_path / "log")


def test_files_that_say_the_same_agree(tmp_path: Path) -> None:
    """The same answers in another order, an empty image and a failure that both have, are no difference."""
    one, other = detection(100, 700), detection(1000, 1900, 0.4, "3")
    first = written(tmp_path / "first", [one, other], [], None)
    found = compare_files(first, written(tmp_path / "second", [other, one], [], None), 0.005)
    assert (found.images, found.identical, found.compared, found.found) == (3, 3, 2, 2)
    assert not found.faults and found.box == found.confidence == 0


def test_a_pixel_and_a_last_digit_are_within_tolerance(tmp_path: Path) -> None:
    """Boxes that differ by one pixel, and confidences by one cut digit more than the tolerance, agree, and show."""
    first = written(tmp_path / "first", [detection(100, 700, 0.9)])
    found = compare_files(first, written(tmp_path / "second", [detection(101, 700, 0.894)]), 0.005)
    assert not found.faults and found.identical == 0
    assert found.box == pytest.approx(1 / WIDTH, rel=1e-3)
    assert found.confidence == pytest.approx(0.006, abs=1e-6)


@pytest.mark.parametrize(
    "answer",
    [[], None, [detection(104, 700)], [detection(100, 700, 0.88)], [detection(100, 700, category="2")],
     [detection(100, 700), detection(1200, 1900)]],
)  # fmt: skip
def test_another_answer_is_out_of_tolerance(tmp_path: Path, answer: list[dict[str, Any]] | None) -> None:
    """An object that is missing, more, elsewhere, less sure or of another class is a fault, with the image's name."""
    first = written(tmp_path / "first", [detection(100, 700)])
    found = compare_files(first, written(tmp_path / "second", answer), 0.005)
    assert found.faults and found.faults[0].startswith("0.jpg: ")
    assert "out of tolerance" in found.sentence


def test_files_of_other_images_cannot_be_compared(tmp_path: Path) -> None:
    """An image that only one file has ends the comparison."""
    with pytest.raises(ValueError, match=r"such as 1\.jpg"):
        compare_files(written(tmp_path / "first", []), written(tmp_path / "second", [], []), 0.005)
