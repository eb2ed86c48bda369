"""Completes a raw detector graph: pixels in, finished detections out.

Around a network that answers with boxes and scores this puts, inside the same ONNX graph, the scaling of the pixels
before it, and after it MegaDetector's rule: the best class of each cell, a low threshold, suppression of overlapping
boxes within a class, at most 300 detections, the most confident first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

INPUT, DETECTIONS, COUNT = "images", "detections", "count"
OPSET = 17
PREFIX = "raw/"


@dataclass(frozen=True)
class Rule:
    """How raw answers become detections. `threshold` is exclusive, as MegaDetector's is."""

    threshold: float = 0.005
    iou: float = 0.45
    most: int = 300


def complete(raw: onnx.ModelProto, rule: Rule | None = None) -> onnx.ModelProto:
    """The completed graph of `raw`.

    `raw` takes one float32 input [N, 3, H, W] in 0 to 1, and has two float32 outputs, named `boxes` [N, A, 4] as (cx,
    cy, w, h) in pixels of its input and `scores` [N, A, C] in 0 to 1. Its opset is 17 or is converted to it.

    The result takes `images` uint8 [N, H, W, 3] (RGB) and gives `detections` float32 [N, 300, 6] as (x_min, y_min,
    x_max, y_max in pixels of the input, confidence, class index) and `count` int32 [N]; rows past the count are zero.

    Raises ValueError when the raw graph has other inputs or outputs.
    """
    rule = rule or Rule()
    names = {output.name for output in raw.graph.output}
    if len(raw.graph.input) != 1 or names != {"boxes", "scores"}:
        raise ValueError(f"a raw graph has one input, and outputs boxes and scores; this one has {sorted(names)}")
    version = next(entry.version for entry in raw.opset_import if entry.domain in ("", "ai.onnx"))
    if version != OPSET:
        raw = onnx.version_converter.convert_version(raw, OPSET)
    inside = compose.add_prefix_graph(raw.graph, PREFIX)
    source = inside.input[0].name
    before = _before(source)
    after, constants = _after(PREFIX + "boxes", PREFIX + "scores", rule)
    graph = helper.make_graph(
        [*before, *inside.node, *after],
        "detector",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info(DETECTIONS, TensorProto.FLOAT, ["batch", rule.most, 6]),
            helper.make_tensor_value_info(COUNT, TensorProto.INT32, ["batch"]),
        ],
        [*inside.initializer, *constants],
    )
    graph.sparse_initializer.extend(inside.sparse_initializer)
    model = helper.make_model(graph, opset_imports=[*_other_domains(raw), helper.make_opsetid("", OPSET)])
    model.ir_version = min(raw.ir_version, 9) if raw.ir_version else 8
    model.functions.extend(raw.functions)
    onnx.checker.check_model(model)
    return model


def _other_domains(raw: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    return [entry for entry in raw.opset_import if entry.domain not in ("", "ai.onnx")]


def _before(target: str) -> list[onnx.NodeProto]:
    """Bytes in rows of pixels to planes of float32 in 0 to 1."""
    scale = numpy_helper.from_array(np.asarray(255.0, np.float32))
    return [
        helper.make_node("Transpose", [INPUT], ["in/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["in/planes"], ["in/float"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["in/scale"], value=scale),
        helper.make_node("Div", ["in/float", "in/scale"], [target]),
    ]


def _after(boxes: str, scores: str, rule: Rule) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """From boxes and scores to detections: suppression, then a dense table of the survivors, then the best of them.

    Suppression gives (image, class, cell) triples. They become a score or a zero for each cell, so that every
    shape but the list of triples is known beforehand; a cell keeps its best class only, so one score a cell will do.
    """
    values = {
        "k/threshold": np.asarray([rule.threshold], np.float32),
        "k/iou": np.asarray([rule.iou], np.float32),
        "k/most": np.asarray([rule.most], np.int64),
        "k/zero": np.asarray(0.0, np.float32),
        "k/columns": np.asarray([0, 2], np.int64),
        "k/last": np.asarray([2], np.int64),
        "k/half": np.asarray(0.5, np.float32),
        "k/sides": np.asarray([2, 2], np.int64),
        "k/pad": np.asarray([0, 0, 0, rule.most], np.int64),
        "k/corners": np.asarray([1, 1, 4], np.int64),
    }
    node = helper.make_node
    nodes = [
        # One class a cell: the best one keeps its score, the others get zero.
        node("ArgMax", [scores], ["n/class"], axis=2, keepdims=1, select_last_index=0),
        node("ReduceMax", [scores], ["n/best"], axes=[2], keepdims=1),
        node("Mul", [scores, "k/zero"], ["n/blank"]),
        node("ScatterElements", ["n/blank", "n/class", "n/best"], ["n/single"], axis=2),
        node("Transpose", ["n/single"], ["n/by_class"], perm=[0, 2, 1]),
        node(
            "NonMaxSuppression",
            [boxes, "n/by_class", "k/most", "k/iou", "k/threshold"],
            ["n/kept"],
            center_point_box=1,
        ),
        # A score for each cell that was kept, zero for the others: [N, A].
        node("Gather", ["n/kept", "k/columns"], ["n/places"], axis=1),
        node("Squeeze", ["n/best", "k/last"], ["n/flat"]),
        node("GatherND", ["n/flat", "n/places"], ["n/values"]),
        node("Mul", ["n/flat", "k/zero"], ["n/empty"]),
        node("ScatterND", ["n/empty", "n/places", "n/values"], ["n/dense"]),
        # Fewer cells than rows to give: fill up with zeros, then take the most confident.
        node("Pad", ["n/dense", "k/pad", "k/zero"], ["n/padded"]),
        node("TopK", ["n/padded", "k/most"], ["n/top", "n/order"], axis=1, largest=1, sorted=1),
        # Rows past the count point at a filled-up cell or at a suppressed one; both are wiped with the mask.
        node("Greater", ["n/top", "k/zero"], ["n/valid"]),
        node("Shape", ["n/flat"], ["n/shape"]),
        node("Constant", [], ["k/one"], value=numpy_helper.from_array(np.asarray(1, np.int64))),
        node("Gather", ["n/shape", "k/one"], ["n/cells"], axis=0),
        node("Sub", ["n/cells", "k/one"], ["n/final"]),
        node("Min", ["n/order", "n/final"], ["n/cell"]),
        node("Unsqueeze", ["n/cell", "k/last"], ["n/index"]),
        node("Expand", ["n/index", "k/corners"], ["n/index4"]),
        node("GatherElements", [boxes, "n/index4"], ["n/box"], axis=1),
        node("Split", ["n/box", "k/sides"], ["n/centre", "n/size"], axis=2),
        node("Mul", ["n/size", "k/half"], ["n/reach"]),
        node("Sub", ["n/centre", "n/reach"], ["n/low"]),
        node("Add", ["n/centre", "n/reach"], ["n/high"]),
        node("GatherElements", ["n/class", "n/index"], ["n/label"], axis=1),
        node("Cast", ["n/label"], ["n/label_float"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["n/top", "k/last"], ["n/confidence"]),
        node("Concat", ["n/low", "n/high", "n/confidence", "n/label_float"], ["n/rows"], axis=2),
        node("Unsqueeze", ["n/valid", "k/last"], ["n/valid3"]),
        node("Where", ["n/valid3", "n/rows", "k/zero"], [DETECTIONS]),
        node("Cast", ["n/valid"], ["n/ones"], to=TensorProto.INT32),
        node("Constant", [], ["k/rows"], value=numpy_helper.from_array(np.asarray([1], np.int64))),
        node("ReduceSum", ["n/ones", "k/rows"], [COUNT], keepdims=0),
    ]
    return nodes, [numpy_helper.from_array(array, name) for name, array in values.items()]
