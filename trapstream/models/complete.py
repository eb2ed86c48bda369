"""Completes a raw detector graph: pixels in, detections after NMS out. CPU and GPU run the same graph.

Around a network that answers with boxes and scores this puts, inside the same ONNX graph, the scaling of the pixels
before it, and after it MegaDetector's rule: the best class of each cell, a low threshold, suppression of overlapping
boxes within a class, at most 300 detections, the most confident first. An end-to-end detector is not suppressed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trapstream.models.onnx_graph import prefixed
from trapstream.models.raw import OLDEST, RawModel, brought_to_opset, opset_of

INPUT, DETECTIONS, COUNT = "images", "detections", "count"
PREFIX = "raw/"


@dataclass(frozen=True)
class Rule:
    """How raw answers become detections. `threshold` is exclusive, as MegaDetector's is."""

    threshold: float = 0.005
    iou: float = 0.45
    most: int = 300


def complete(
    raw: RawModel, rule: Rule | None = None, members: Sequence[Sequence[int]] | None = None
) -> onnx.ModelProto:
    """The completed graph of `raw`; raw.py says what that is.

    `members` has, for each class of the result, the classes of the model whose best score it gets
    (trapstream.models.classes); without it the model's own classes stay.

    The result takes `images` uint8 [N, H, W, 3] (RGB) and gives `detections` float32 [N, 300, 6] as (x_min, y_min,
    x_max, y_max in pixels of the input, confidence, class index) and `count` int32 [N]; rows past the count are zero.

    Raises ValueError when the raw graph has other inputs or outputs, or an opset that cannot be had.
    """
    rule = rule or Rule()
    model = brought_to_opset(raw.graph)
    names = {output.name for output in model.graph.output}
    if len(model.graph.input) != 1 or names != {"boxes", "scores"}:
        raise ValueError(f"a raw graph has one input, and outputs boxes and scores; this one has {sorted(names)}")
    inside = prefixed(model.graph, PREFIX)
    height, width = raw.fixed or ("height", "width")
    scores, merging, merged = _merge(PREFIX + "scores", members)
    after, constants = _after(PREFIX + "boxes", scores, rule, raw.suppress, opset_of(model) or OLDEST)
    graph = helper.make_graph(
        [*_before(inside.input[0].name), *inside.node, *merging, *after],
        "detector",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", height, width, 3])],
        [
            helper.make_tensor_value_info(DETECTIONS, TensorProto.FLOAT, ["batch", rule.most, 6]),
            helper.make_tensor_value_info(COUNT, TensorProto.INT32, ["batch"]),
        ],
        [*inside.initializer, *merged, *constants],
    )
    graph.sparse_initializer.extend(inside.sparse_initializer)
    done = helper.make_model(graph, opset_imports=model.opset_import)
    done.ir_version = max(helper.find_min_ir_version_for(model.opset_import), 8)
    done.functions.extend(model.functions)
    onnx.checker.check_model(done)
    return done


def _before(target: str) -> list[onnx.NodeProto]:
    """Bytes in rows of pixels to planes of float32 in 0 to 1."""
    scale = numpy_helper.from_array(np.asarray(255.0, np.float32))
    return [
        helper.make_node("Transpose", [INPUT], ["in/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["in/planes"], ["in/float"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["in/scale"], value=scale),
        helper.make_node("Div", ["in/float", "in/scale"], [target]),
    ]


def _merge(
    scores: str, members: Sequence[Sequence[int]] | None
) -> tuple[str, list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Scores of the model's classes [N, A, C] to those of the result's: the best of the members of each.

    Round k takes the k-th member of every class, and the last one again where a class has fewer.
    """
    if members is None:
        return scores, [], []
    nodes, constants, rounds = [], [], max(len(each) for each in members)
    for k in range(rounds):
        chosen = np.asarray([each[min(k, len(each) - 1)] for each in members], np.int64)
        constants.append(numpy_helper.from_array(chosen, f"m/members{k}"))
        nodes.append(helper.make_node("Gather", [scores, f"m/members{k}"], [f"m/scores{k}"], axis=2))
    nodes.append(helper.make_node("Max", [f"m/scores{k}" for k in range(rounds)], ["m/scores"]))
    return "m/scores", nodes, constants


def _after(
    boxes: str, scores: str, rule: Rule, suppress: bool, opset: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """From boxes and scores to detections: a dense table of what stays, then the best of it."""
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
        "k/one": np.asarray([1], np.int64),
        "k/first": np.asarray(0, np.int64),
        "k/next": np.asarray(1, np.int64),
    }
    node = helper.make_node
    nodes = [
        node("ArgMax", [scores], ["n/class"], axis=2, keepdims=0, select_last_index=0),
        _best_of(scores, opset),
        *(_suppressed(boxes, scores) if suppress else _above()),
        # Fewer cells than rows to give: fill up with zeros, then take the most confident.
        node("Pad", ["n/dense", "k/pad", "k/zero"], ["n/padded"]),
        node("TopK", ["n/padded", "k/most"], ["n/top", "n/order"], axis=1, largest=1, sorted=1),
        # Rows past the count point at a filled-up cell or at one that went; both are wiped with the mask.
        node("Greater", ["n/top", "k/zero"], ["n/valid"]),
        node("Shape", ["n/best"], ["n/cells"], start=1),
        node("Sub", ["n/cells", "k/one"], ["n/final"]),
        node("Min", ["n/order", "n/final"], ["n/cell"]),
        node("Unsqueeze", ["n/cell", "k/last"], ["n/index"]),
        node("Expand", ["n/index", "k/corners"], ["n/index4"]),
        node("GatherElements", [boxes, "n/index4"], ["n/box"], axis=1),
        node("Split", ["n/box", "k/sides"], ["n/centre", "n/size"], axis=2),
        node("Mul", ["n/size", "k/half"], ["n/reach"]),
        node("Sub", ["n/centre", "n/reach"], ["n/low"]),
        node("Add", ["n/centre", "n/reach"], ["n/high"]),
        node("GatherElements", ["n/class", "n/cell"], ["n/label"], axis=1),
        node("Cast", ["n/label"], ["n/label_float"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["n/label_float", "k/last"], ["n/label3"]),
        node("Unsqueeze", ["n/top", "k/last"], ["n/confidence"]),
        node("Concat", ["n/low", "n/high", "n/confidence", "n/label3"], ["n/rows"], axis=2),
        node("Unsqueeze", ["n/valid", "k/last"], ["n/valid3"]),
        node("Where", ["n/valid3", "n/rows", "k/zero"], [DETECTIONS]),
        node("Cast", ["n/valid"], ["n/ones"], to=TensorProto.INT32),
        node("ReduceSum", ["n/ones", "k/one"], [COUNT], keepdims=0),
    ]
    return nodes, [numpy_helper.from_array(array, name) for name, array in values.items()]


def _best_of(scores: str, opset: int) -> onnx.NodeProto:
    """n/best [N, A]: the best score of each cell. What it is the best of became an input with opset 18."""
    if opset < 18:
        return helper.make_node("ReduceMax", [scores], ["n/best"], axes=[2], keepdims=0)
    return helper.make_node("ReduceMax", [scores, "k/last"], ["n/best"], keepdims=0)


def _suppressed(boxes: str, scores: str) -> list[onnx.NodeProto]:
    """n/dense [N, A]: the score of each cell that suppression keeps, zero for the others.

    Suppression gives (image, class, cell) triples. They become a score or a zero for each cell, so that every
    shape but the list of triples is known beforehand; a cell keeps its best class only, so one score a cell will do.
    """
    node = helper.make_node
    return [
        # One class a cell: the best one keeps its score, the others get zero. [N, C, A]
        node("Shape", [scores], ["n/classes"], start=2),
        node("Squeeze", ["n/classes"], ["n/number"]),
        node("Range", ["k/first", "n/number", "k/next"], ["n/numbers"]),
        node("Unsqueeze", ["n/numbers", "k/one"], ["n/column"]),
        node("Unsqueeze", ["n/class", "k/one"], ["n/class_row"]),
        node("Unsqueeze", ["n/best", "k/one"], ["n/best_row"]),
        node("Equal", ["n/class_row", "n/column"], ["n/is_class"]),
        node("Cast", ["n/is_class"], ["n/mask"], to=TensorProto.FLOAT),
        node("Mul", ["n/mask", "n/best_row"], ["n/by_class"]),
        node(
            "NonMaxSuppression",
            [boxes, "n/by_class", "k/most", "k/iou", "k/threshold"],
            ["n/kept"],
            center_point_box=1,
        ),
        node("Gather", ["n/kept", "k/columns"], ["n/places"], axis=1),
        node("GatherND", ["n/best", "n/places"], ["n/values"]),
        node("Mul", ["n/best", "k/zero"], ["n/empty"]),
        node("ScatterND", ["n/empty", "n/places", "n/values"], ["n/dense"]),
    ]


def _above() -> list[onnx.NodeProto]:
    """n/dense [N, A]: the score of each cell above the threshold, zero for the others."""
    return [
        helper.make_node("Greater", ["n/best", "k/threshold"], ["n/enough"]),
        helper.make_node("Where", ["n/enough", "n/best", "k/zero"], ["n/dense"]),
    ]
