"""model diff: what another version would have said about a job's images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from consumer.detect import INPUT, OUTPUTS
from tests.acceptance.command import Command
from tests.unit import bundles
from trapstream.models import bundle_store

NUDGE = 2.0
"""Added to the logits of one class: animals are seen where there are none."""
CLASS = 0
CLEAR = 0.03
"""So far from the threshold no runtime's rounding decides."""


@pytest.fixture(scope="module")
def jobs(trapstream: Command, scenes: Path) -> tuple[str, str]:
    """Two jobs of the demonstration model that are done: all scenes, and one that kept little."""
    few = submitted(trapstream, min(scenes.glob("*.jpg")), "--model", "demonstration@1", "--threshold", "0.4")
    return submitted(trapstream, scenes, "--model", "demonstration@1"), few


@pytest.fixture(scope="module")
def nudged(trapstream: Command, jobs: tuple[str, str]) -> Iterator[bundle_store.Bundle]:  # before the deploy
    """The demonstration model with the last layer's weights of one class nudged, deployed, and rolled back after it."""
    own = bundle_store.find(trapstream.home, "demonstration@1")
    graph = onnx.load(str(own.graph))
    moved = 0
    for tensor in graph.graph.initializer:
        if tensor.name.startswith("raw/heads") and list(tensor.dims) == [4 + len(own.card.classes)]:
            bias = numpy_helper.to_array(tensor).copy()
            bias[4 + CLASS] += NUDGE
            tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
            moved += 1
    assert moved == 2
    card = msgspec.structs.replace(own.card, version="1-nudged", sha256="", measured={}, seeds={})
    bundle = bundles.add(trapstream.home, card, graph, graph)
    deployed = trapstream("model", "deploy", bundle.label, "--runtime", "onnxruntime", "--unchecked")
    assert deployed.status == 0, deployed.err
    yield bundle
    back = trapstream("model", "rollback", "demonstration")
    assert back.status == 0, back.err


def submitted(trapstream: Command, *arguments: str | Path) -> str:
    """The id of a job that is done."""
    ran = trapstream("submit", *arguments, "--wait")
    assert ran.status == 0, ran.err
    return ran.out.strip()


def classes(path: Path, threshold: float) -> dict[str, set[str]]:
    """Name to classes at the threshold, straight from a result file."""
    data = json.loads(path.read_text())
    return {
        entry["file"]: {
            data["detection_categories"][found["category"]]
            for found in entry["detections"]
            if found["conf"] >= threshold
        }
        for entry in data["images"]
    }


def kind(was: set[str], now: set[str]) -> str:
    """What the change is called."""
    return "same" if was == now else "new" if not was else "gone" if not now else "class"


def best(graph: Path, images: list[NDArray[np.uint8]]) -> list[dict[int, float]]:
    """Class index to its highest confidence, by the graph alone."""
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    found: list[dict[int, float]] = []
    for image in images:
        detections, count = session.run(list(OUTPUTS), {INPUT: image[None]})
        rows = detections[0, : count[0]]
        found.append({label: float(rows[rows[:, 5] == label, 4].max()) for label in set(rows[:, 5].astype(int))})
    return found


def test_exactly_the_changed_images_are_listed(
    trapstream: Command, scenes: Path, jobs: tuple[str, str], nudged: bundle_store.Bundle, tmp_path: Path
) -> None:
    """The list holds the images whose classes differ between two jobs' files, and agrees with both graphs run alone."""
    job = jobs[0]
    changes, sheet = tmp_path / "changes.json", tmp_path / "changes.png"
    ran = trapstream("model", "diff", job, nudged.label, "-o", changes, "--sheet", sheet)
    assert ran.status == 0, ran.err
    told: dict[str, Any] = json.loads(changes.read_text())
    listed = {change["file"]: change["change"] for change in told["changes"]}

    own, other = tmp_path / "own.json", tmp_path / "other.json"
    for source, path in ((job, own), (told["new"]["job"], other)):
        assert trapstream("results", source, "-o", path).status == 0
    limit = nudged.card.typical_detection_threshold
    was, now = classes(own, limit), classes(other, limit)
    kinds = {file: kind(was[file], now[file]) for file in was}
    assert listed == {file: change for file, change in kinds.items() if change != "same"}
    assert told["counts"]["changed"] == len(listed) > 5
    assert told["counts"]["compared"] == len(was) == 120
    assert {"new", "class"} <= set(listed.values())
    assert f"compared 120 = changed {len(listed)} + same {120 - len(listed)} + failed by both 0" in ran.out

    files = sorted(was)
    images = [np.asarray(Image.open(scenes / file).convert("RGB")) for file in files]
    graphs = bundle_store.find(trapstream.home, "demonstration@1").graph, nudged.graph
    for file, before, after in zip(files, *(best(graph, images) for graph in graphs), strict=True):
        if all(abs(conf - limit) > CLEAR for conf in (*before.values(), *after.values())):
            sure = [{label for label, conf in found.items() if conf >= limit} for found in (before, after)]
            assert (file in listed) == (sure[0] != sure[1]), file
    with Image.open(sheet) as drawn:
        assert drawn.width > 4 * 480 and drawn.height > 2 * 360


def test_a_second_diff_does_not_detect_again(
    trapstream: Command, jobs: tuple[str, str], nudged: bundle_store.Bundle
) -> None:
    """Another threshold uses the job that is there, and lists the changes on standard output, a line each."""
    job = jobs[0]
    first = trapstream("model", "diff", job, nudged.label, "--threshold", "0.5")
    assert first.status == 0, first.err
    known = len(trapstream("status", "--json").out.splitlines())
    second = trapstream("model", "diff", job, nudged.label, "--threshold", "0.5")
    assert second.out == first.out
    assert "it is used as it is" in second.err
    assert len(trapstream("status", "--json").out.splitlines()) == known
    lines = [line.split("\t") for line in second.out.splitlines()]
    assert all(len(line) == 3 and line[0] in {"new", "gone", "class"} for line in lines)
    assert lines


def test_what_cannot_be_compared_is_refused(
    trapstream: Command, scenes: Path, jobs: tuple[str, str], nudged: bundle_store.Bundle
) -> None:
    """An unknown job or model, the same model, a threshold below what was kept, and a bad place: one line each."""
    job = jobs[1]
    for arguments, said in (
        (("nobody", nudged.label), "no job nobody here"),
        ((job, "demonstration@no"), "no model demonstration@no here"),
        ((job, "demonstration@1"), "name another version"),
        ((job, nudged.label), "take --threshold 0.4 or more"),
        ((job, nudged.label, "-o", scenes), "is a folder"),
    ):
        ran = trapstream("model", "diff", *arguments)
        assert ran.status == 1, ran.err
        assert said in ran.line()
