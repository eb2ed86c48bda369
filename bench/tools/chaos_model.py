"""A model that costs next to nothing and whose answer depends on every pixel, and the images for it."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from trapstream.core import json_codec
from trapstream.core.messages import ModelInfo
from trapstream.models.card import Card, sha256_of, write_card

NAME = "brightness"
_BAD = 4
"""Of a hundred images: two that are damaged, two that are not there."""


def write_bundle(folder: Path) -> ModelInfo:
    """Writes the model's bundle. Its one box and its confidence follow an image's mean; dark images are empty."""
    folder.mkdir(parents=True, exist_ok=True)
    rest, slope = np.zeros((1, 300, 6), "f4"), np.zeros((1, 300, 6), "f4")
    rest[0, 0], slope[0, 0] = (4, 4, 40, 40, 0.1, 0), (8, 4, 16, 8, 0.8, 0)
    values = {
        "scale": np.float32(1 / 255), "limit": np.float32(0.45),
        "rest": rest, "slope": slope, "across": np.array([-1, 1, 1], "i8"),
    }  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["mean", "scale"], ["share"]),
        helper.make_node("Reshape", ["share", "across"], ["factor"]),
        helper.make_node("Mul", ["factor", "slope"], ["moved"]),
        helper.make_node("Add", ["moved", "rest"], ["detections"]),
        helper.make_node("Greater", ["share", "limit"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["count"], to=TensorProto.INT32),
    ]
    path = folder / "model.onnx"
    save_mean_graph(path, NAME, nodes, values)
    card = Card(
        name=NAME, version="1", family="none", classes={"1": "brightness"}, image_size=64, stride=32,
        typical_detection_threshold=0.2, conservative_detection_threshold=0.1, precision="float32",
        sha256=sha256_of(path), source="bench/tools/chaos_model.py", licence="Apache-2.0",
    )  # fmt: skip
    write_card(folder / "card.json", card)
    return card.info


def save_graph(path: Path, name: str, nodes: Sequence[onnx.NodeProto], values: Mapping[str, Any]) -> None:
    """Writes `nodes` and constants as a graph from `images` uint8 [N, H, W, 3] to `detections` and `count`."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", 300, 6]),
            helper.make_tensor_value_info("count", TensorProto.INT32, ["N"]),
        ],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


def save_mean_graph(path: Path, name: str, nodes: Sequence[onnx.NodeProto], values: Mapping[str, Any]) -> None:
    """As `save_graph`, for `nodes` that begin with `mean`: of each image's values, 0 to 255, float [N]."""
    mean = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
    ]
    save_graph(path, name, [*mean, *nodes], {"axes": np.array([1, 2, 3], "i8"), **values})


def jpeg(pixels: NDArray[np.int64]) -> bytes:
    """A photograph of 64 x 48 pixels, enlarged from these [h, w, 3]."""
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).resize((64, 48)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_images(folder: Path, images: int, kinds: int = 400) -> Path:
    """A manifest that names `kinds` files of 64 x 48 pixels again and again, `images` in all; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(11)
    paths = []
    for number in range(kinds):
        path = folder / f"{number:04}.jpg"
        whole = jpeg(random.integers(0, 256, (6, 8, 3)) // 2 + random.integers(0, 128))
        if number % 100 >= _BAD // 2:
            path.write_bytes(b"no image at all" if number % 100 < _BAD else whole)
        paths.append(path)
    manifest = folder / "manifest.jsonl"
    with manifest.open("wb") as lines:
        for seq in range(images):
            path = paths[seq * 7 % kinds]
            line = {"file": f"site-{seq % 3}/{seq:07}.jpg", "uri": path.as_uri()}
            lines.write(json_codec.encode(line) + b"\n")
    return manifest
