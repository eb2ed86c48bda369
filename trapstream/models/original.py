"""The original that a bundle is held against: the network as its reader found it, decoded here in plain numpy.

Nothing of complete.py is used: what completion does wrong must not be done wrong here too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from trapstream.core import json_codec
from trapstream.core.errors import TrapstreamError
from trapstream.models.agreement import Given, Rows, suppress
from trapstream.models.raw import RawModel

THRESHOLD, MOST = 0.005, 300
"""MegaDetector's, as completion has them."""
_SUPPRESS, _MEMBERS = "trapstream.suppress", "trapstream.members"
_PREFIX = "raw/"
"""Begins the names of the network inside a completed graph."""

Pixels = NDArray[np.uint8]


class NoOriginal(TrapstreamError):
    """There is nothing to hold a bundle against. One line that says why."""


def pack(raw: RawModel, members: Sequence[Sequence[int]] | None = None) -> onnx.ModelProto:
    """What a bundle keeps as raw.onnx: the graph of `raw` in float32, with how its answers become detections.

    `members` has, for each class of the result, the classes of the model whose best score it gets; None keeps all.
    """
    packed = onnx.ModelProto()
    packed.CopyFrom(raw.graph)
    properties = {entry.key: entry.value for entry in packed.metadata_props}
    properties |= {_SUPPRESS: _text(raw.suppress)}
    properties |= {_MEMBERS: _text(members)}
    helper.set_model_props(packed, properties)
    return packed


def _text(value: object) -> str:
    return json_codec.encode(value).decode()


@dataclass(frozen=True)
class Original:
    """The network in ONNX Runtime, in float32."""

    session: ort.InferenceSession
    suppress: bool
    members: tuple[tuple[int, ...], ...] | None

    def answer(self, pixels: Pixels, frame: tuple[int, int]) -> Given:
        """What it says of an image: `pixels` [H, W, 3] after the letterbox; `frame` is the image's part of them."""
        planes = (pixels.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
        boxes, scores = self.session.run(["boxes", "scores"], {self.session.get_inputs()[0].name: planes})
        candidates = decode(np.asarray(boxes)[0], np.asarray(scores)[0], self.members)
        kept = suppress(candidates, MOST) if self.suppress else candidates[:MOST]
        return Given(candidates, kept, frame, self.suppress, MOST)


def decode(boxes: Rows, scores: Rows, members: Sequence[Sequence[int]] | None) -> Rows:
    """Rows of one image's boxes [A, 4] (cx, cy, w, h) and scores [A, C], above the threshold, the surest first."""
    if members is not None:
        scores = np.stack([scores[:, list(each)].max(axis=1) for each in members], axis=1)
    labels, best = scores.argmax(axis=1), scores.max(axis=1)
    reach = boxes[:, 2:] / np.float32(2)
    rows = np.concatenate([boxes[:, :2] - reach, boxes[:, :2] + reach, best[:, None], labels[:, None]], axis=1)
    rows = rows[best > THRESHOLD].astype(np.float32)
    sorted_rows: Rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return sorted_rows


def open_original(folder: Path) -> Original:
    """The original of the bundle in `folder`: its raw.onnx, else the network inside its own completed graph.

    Raises NoOriginal.
    """
    path = folder / "raw.onnx"  # opened by its path: a large one in memory as a message too is gigabytes more
    try:
        session = open_session(path if path.is_file() else _inside(onnx.load(str(folder / "model.onnx"))))
    except NoOriginal:
        raise
    except Exception as error:  # ONNX Runtime has a class of its own for each way to refuse
        raise NoOriginal(f"the original in {folder} cannot be opened: {error}; import the model again") from error
    metadata = session.get_modelmeta().custom_metadata_map
    properties = {key: json_codec.decode(value) for key, value in metadata.items() if key.startswith("trapstream.")}
    members = properties.get(_MEMBERS)
    return Original(session, bool(properties.get(_SUPPRESS, True)), tuple(map(tuple, members)) if members else None)


def open_session(model: onnx.ModelProto | Path) -> ort.InferenceSession:
    """A graph in ONNX Runtime on all cores that this process may use. Raises what ONNX Runtime raises."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 4  # what goes wrong is raised as well
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _inside(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network inside a completed graph: what a bundle that was not imported is held against."""
    nodes = [node for node in model.graph.node if node.output[0].startswith(_PREFIX)]
    entrances = [node.output[0] for node in nodes if not any(name.startswith(_PREFIX) for name in node.input)]
    inner = [node for node in nodes if node.output[0] not in entrances[:1]]
    names = {name for node in inner for name in node.output}
    if not entrances or not {f"{_PREFIX}boxes", f"{_PREFIX}scores"} <= names:
        raise NoOriginal("this bundle has no raw.onnx to be held against; import the model again")
    outputs = ("boxes", "scores")
    graph = helper.make_graph(
        [*inner, *(helper.make_node("Identity", [_PREFIX + name], [name]) for name in outputs)],
        "inside",
        [helper.make_tensor_value_info(entrances[0], TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "cells", None]) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name.startswith(_PREFIX)],
    )
    inside = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    suppressed = any(node.op_type == "NonMaxSuppression" for node in model.graph.node)
    helper.set_model_props(inside, {_SUPPRESS: _text(suppressed)})
    return inside
