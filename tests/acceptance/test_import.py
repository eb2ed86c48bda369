"""A detector from a file to results, as a user brings one, held against a plain loop over the same file."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from model_repository import demonstration
from tests import models
from tests.acceptance.command import Command
from trapstream.models.complete import Rule

CLASSES = ("animal", "person", "vehicle")


def write_export(path: Path) -> None:
    """The demonstration model's network as an export of the YOLOv8 family: [N, 4 + C, A], its facts in the metadata."""
    served = onnx.load(str(Path(demonstration.__path__[0]) / "model.onnx")).graph
    network = [node for node in served.node if node.output[0].startswith("raw/") and node.output[0] != "raw/images"]
    columns = [helper.make_node("Transpose", [f"raw/{each}"], [each], perm=[0, 2, 1]) for each in ("boxes", "scores")]
    both = helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1)
    graph = helper.make_graph(
        [*network, *columns, both],
        "export",
        [helper.make_tensor_value_info("raw/images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 7, "cells"])],
        [weight for weight in served.initializer if weight.name.startswith("raw/")],
    )
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"names": str(dict(enumerate(CLASSES))), "stride": "32", "imgsz": "[640, 640]", "task": "detect"}
    helper.set_model_props(raw, facts)
    onnx.save(raw, str(path))


def loop(session: ort.InferenceSession, path: Path) -> NDArray[np.float32]:
    """Rows of (relative x, y, width, height; confidence, category) for an image that needs no letterbox."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32).transpose(2, 0, 1)[None] / np.float32(255)
    (answer,) = session.run(None, {"raw/images": pixels})
    found = models.detections(answer[0, :4].T, answer[0, 4:].T, Rule())
    height, width = pixels.shape[2:]
    corners = np.clip(found[:, :4], 0, [width, height, width, height]).round() / [width, height, width, height]
    corners[:, 2:] -= corners[:, :2]
    return np.column_stack([corners, found[:, 4], found[:, 5] + 1])


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_run_answers_as_a_plain_loop_over_the_file(
    trapstream: Command, scenes: Path, tmp_path: Path, precision: str
) -> None:
    """import, deploy, run: each detection above 0.1 is the loop's, in its place and as sure, within the tolerances."""
    photos, output = tmp_path / "photos", tmp_path / "results.json"
    photos.mkdir()
    for scene in sorted(scenes.glob("*.jpg"))[:24]:
        Image.open(scene).save(photos / f"{scene.stem}.png")  # what decoders of JPEG differ by is not the question here
    write_export(tmp_path / "brought.onnx")
    name = f"brought-{precision}"
    brought = tmp_path / "brought.onnx"
    imported = trapstream("model", "import", brought, "--name", name, "--precision", precision, "--family", "yolov8")
    assert imported.status == 0, imported.err
    assert imported.out == f"{name}@1\n"
    deployed = trapstream("model", "deploy", name, "--runtime", "onnxruntime", "--unchecked")
    assert deployed.status == 0, deployed.err
    ran = trapstream("run", photos, "-o", output, "--model", name)
    assert ran.status == 0, ran.err
    session = ort.InferenceSession(str(tmp_path / "brought.onnx"), providers=["CPUExecutionProvider"])
    compared = 0
    for entry in json.loads(output.read_text())["images"]:
        wanted = loop(session, photos / entry["file"])
        wanted = wanted[wanted[:, 4] > 0.1]
        found = [each for each in entry["detections"] if each["conf"] > 0.1]
        assert len(found) == len(wanted), entry["file"]
        for each, row in zip(found, wanted, strict=True):
            assert int(each["category"]) == row[5]
            assert np.abs(np.asarray(each["bbox"]) - row[:4]).max() <= (0.0011 if precision == "float32" else 0.0055)
            assert abs(each["conf"] - row[4]) <= (0.005 if precision == "float32" else 0.02)
        compared += len(found)
    assert compared >= 12
