"""A tiny model with the inputs and outputs of a real one, and the values that tests need of a running stack."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from bench.tools.chaos_model import save_graph
from trapstream.models.card import Card, sha256_of, write_card

NAME, VERSION = "tiny", "1"


@dataclass(frozen=True)
class RunningStack:
    """What a test needs to know of a stack that is up."""

    home: Path
    kafka: str
    """host:port."""
    triton: str
    """host:port of gRPC."""
    triton_http: str
    shm_prefix: str
    model: str
    entry: str
    """The model's name in Triton."""
    graph: Path
    """The ONNX file that Triton serves."""


def write_bundle(folder: Path, name: str = NAME) -> Path:
    """A bundle of two convolutions: `images` uint8 [N, H, W, 3] to `detections` [N, 300, 6] and `count` [N]."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    weights = {
        "scale": np.float32(1 / 255),
        "w1": random.standard_normal((8, 3, 3, 3)).astype("f4"),
        "w2": random.standard_normal((16, 8, 3, 3)).astype("f4"),
        "head": random.standard_normal((16, 1800)).astype("f4"),
        "shape": np.array([-1, 300, 6], dtype="i8"),
        "axes": np.array([1, 2], dtype="i8"),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["x"]),
        helper.make_node("Conv", ["x", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c1"], ["s1"]),
        helper.make_node("Conv", ["s1", "w2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c2"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["row"]),
        helper.make_node("Reshape", ["row", "shape"], ["detections"]),
        helper.make_node("ReduceSum", ["detections", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["count"], to=TensorProto.INT32),
    ]
    save_graph(folder / "model.onnx", name, nodes, weights)
    card = Card(
        name=name, version=VERSION, family="none", classes={"1": "anything"}, image_size=96, stride=32,
        typical_detection_threshold=0.2, conservative_detection_threshold=0.1, precision="float32",
        sha256=sha256_of(folder / "model.onnx"), source="drawn at random", licence="Apache-2.0",
    )  # fmt: skip
    write_card(folder / "card.json", card)
    return folder
