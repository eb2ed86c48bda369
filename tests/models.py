"""Small random detectors of every family, as their own tools export them, each with its decoding written down in numpy.

A network is one convolution a scale, over patches that do not overlap; what follows it is the family's own head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from trapstream.models.complete import Rule

Array = npt.NDArray[Any]
STRIDES = (8, 16, 32)
BINS = 4
"""Of the distributions over distances; the real ones have 16."""
QUERIES = 300
Size = tuple[int, int]


@dataclass(frozen=True)
class Exported:
    """A model as it is found on a disk, and what it should answer."""

    model: onnx.ModelProto
    reference: Callable[[Array], tuple[Array, Array]]
    """Images [N, 3, H, W] in 0 to 1 to boxes [N, A, 4] (centre, size, in pixels) and scores [N, A, C]."""


@dataclass
class Writer:
    """Nodes and constants on their way into a model."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __call__(self, operator: str, *inputs: str | Array | np.generic, name: str = "", **attributes: Any) -> str:
        """The output of a new node."""
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        name = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def constant(self, value: Array | np.generic) -> str:
        """Its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def model(
        self, inputs: Sequence[Any], outputs: dict[str, int], opset: int, metadata: Mapping[str, object] | None = None
    ) -> onnx.ModelProto:
        """The model; `outputs` are names with the number of their dimensions, in float32 but for labels."""
        described = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name == "labels" else TensorProto.FLOAT, [None] * dimensions
            )
            for name, dimensions in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "main_graph", list(inputs), described, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        if opset > 20:
            made.ir_version = 10
        for key, value in (metadata or {}).items():
            made.metadata_props.add(key=key, value=str(value))
        return made


def images_input(size: Size | None, batch: int | None, channels: int = 3) -> onnx.ValueInfoProto:
    """The input of an export; None for what is free."""
    height, width = size or ("height", "width")
    return helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch or "batch", channels, height, width])


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def random_weights(seed: int, outputs: int, strides: Sequence[int] = STRIDES) -> list[tuple[Array, Array]]:
    """Weights [outputs, 3, s, s] and biases [outputs] for each stride s."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(0, 3 / s, (outputs, 3, s, s)).astype(np.float32), rng.normal(0, 1, outputs).astype(np.float32))
        for s in strides
    ]


def features(images: Array, weights: Sequence[tuple[Array, Array]]) -> list[Array]:
    """[N, outputs, cells] for each scale: the convolution, patch by patch."""
    found = []
    for weight, bias in weights:
        s = weight.shape[2]
        n, _, height, width = images.shape
        patches = images.reshape(n, 3, height // s, s, width // s, s).transpose(0, 2, 4, 1, 3, 5)
        flat = patches.reshape(n, (height // s) * (width // s), -1).astype(np.float64)
        found.append((flat @ weight.reshape(len(weight), -1).T + bias).transpose(0, 2, 1))
    return found


def middles(size: Sequence[int], stride: int) -> Array:
    """(x, y) of each cell in cells, row by row: [cells, 2]."""
    return np.asarray([(x, y) for y in range(size[0] // stride) for x in range(size[1] // stride)], np.float64)


def convolutions(write: Writer, weights: Sequence[tuple[Array, Array]]) -> list[str]:
    return [
        write("Conv", "images", weight, bias, kernel_shape=weight.shape[2:], strides=weight.shape[2:])
        for weight, bias in weights
    ]


def grid(write: Writer, planes: str, size: Size | None, stride: int) -> str:
    """(x, y) of each cell, [cells, 2]: a constant where the size is fixed, else computed, as exporters do."""
    if size is not None:
        return write("Identity", middles(size, stride).astype(np.float32))
    shape = write("Shape", planes)
    height = write("Gather", shape, np.asarray(2))
    width = write("Gather", shape, np.asarray(3))
    cells = write("Range", np.asarray(0), write("Mul", height, width), np.asarray(1))
    x, y = write("Mod", cells, width), write("Div", cells, width)
    one = np.asarray([1])
    both = write("Concat", write("Unsqueeze", x, one), write("Unsqueeze", y, one), axis=1)
    return write("Cast", both, to=TensorProto.FLOAT)


def part(write: Writer, value: str, start: int, stop: int, axis: int) -> str:
    return write("Slice", value, np.asarray([start]), np.asarray([stop]), np.asarray([axis]))


ANCHORS = np.asarray([[10, 13], [33, 23], [40, 60]], np.float32)


def yolov5(
    classes: int = 3,
    size: Size | None = None,
    batch: int | None = None,
    seed: int = 0,
    opset: int = 17,
    metadata: Mapping[str, object] | None = None,
    scales: bool = False,
) -> Exported:
    """A row for each cell and anchor: [N, 3 * cells, 5 + C]. `scales` adds the undecoded ones, as old exports do."""
    weights, width = random_weights(seed, 3 * (5 + classes)), 5 + classes
    write, decoded, raw = Writer(), [], {}
    for planes, stride in zip(convolutions(write, weights), STRIDES, strict=True):
        shaped = write("Reshape", planes, np.asarray([batch or 0, 3, width, -1]))
        y = write("Sigmoid", write("Transpose", shaped, perm=[0, 1, 3, 2]))
        corner = write("Sub", grid(write, planes, size, stride), np.float32(0.5))
        centre = write("Add", write("Mul", part(write, y, 0, 2, 3), np.float32(2)), corner)
        twice = write("Mul", part(write, y, 2, 4, 3), np.float32(2))
        sides = write("Mul", write("Mul", twice, twice), ANCHORS[:, None] * np.float32(stride / 8))
        whole = write("Concat", write("Mul", centre, np.float32(stride)), sides, part(write, y, 4, width, 3), axis=3)
        decoded.append(write("Reshape", whole, np.asarray([batch or 0, -1, width])))
        if scales and size is not None:
            shape = np.asarray([batch or 0, 3, size[0] // stride, size[1] // stride, width])
            raw[write("Reshape", shaped, shape, name=f"scale{stride}")] = 5
    write("Concat", *decoded, name="output0", axis=1)

    def reference(images: Array) -> tuple[Array, Array]:
        boxes, scores = [], []
        for values, stride in zip(features(images, weights), STRIDES, strict=True):
            y = sigmoid(values).reshape(len(images), 3, width, -1).transpose(0, 1, 3, 2)
            cells = middles(images.shape[2:], stride)
            centre = (y[..., :2] * 2 - 0.5 + cells) * stride
            sides = (y[..., 2:4] * 2) ** 2 * (ANCHORS[:, None] * stride / 8)
            boxes.append(np.concatenate([centre, sides], -1).reshape(len(images), -1, 4))
            scores.append((y[..., 5:] * y[..., 4:5]).reshape(len(images), -1, classes))
        return np.concatenate(boxes, 1), np.concatenate(scores, 1)

    return Exported(write.model([images_input(size, batch)], {"output0": 3, **raw}, opset, metadata), reference)


def _distances(values: Array, classes: int) -> tuple[Array, Array]:
    """Expected distances [N, cells, 4] and class scores [N, cells, C] of a scale's features."""
    bins = values[:, : 4 * BINS].reshape(len(values), 4, BINS, -1)
    share = np.exp(bins - bins.max(2, keepdims=True))
    share /= share.sum(2, keepdims=True)
    distance = (share * np.arange(BINS)[:, None]).sum(2)
    return distance.transpose(0, 2, 1), sigmoid(values[:, 4 * BINS :]).transpose(0, 2, 1)


def _distance_corners(images: Array, weights: Sequence[tuple[Array, Array]], classes: int) -> tuple[Array, Array]:
    """Corners [N, A, 4] in pixels and scores, of heads that predict distances from the middle of a cell."""
    corners, scores = [], []
    for values, stride in zip(features(images, weights), STRIDES, strict=True):
        distance, score = _distances(values, classes)
        middle = middles(images.shape[2:], stride) + 0.5
        corners.append(np.concatenate([middle - distance[..., :2], middle + distance[..., 2:]], -1) * stride)
        scores.append(score)
    return np.concatenate(corners, 1), np.concatenate(scores, 1)


def centred(corners: Array) -> Array:
    low, high = corners[..., :2], corners[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], -1)


def _distance_head(
    write: Writer, classes: int, size: Size | None, batch: int | None, weights: Sequence[tuple[Array, Array]]
) -> tuple[str, str]:
    """Corners [N, 4, A] in pixels and scores [N, C, A]."""
    corners, scores = [], []
    for planes, stride in zip(convolutions(write, weights), STRIDES, strict=True):
        flat = write("Reshape", planes, np.asarray([batch or 0, 4 * BINS + classes, -1]))
        shaped = write("Reshape", part(write, flat, 0, 4 * BINS, 1), np.asarray([batch or 0, 4, BINS, -1]))
        share = write("Softmax", write("Transpose", shaped, perm=[0, 1, 3, 2]), axis=3)
        distance = write("MatMul", share, np.arange(BINS, dtype=np.float32)[:, None])
        distance = write("Squeeze", distance, np.asarray([3]))
        middle = write("Add", grid(write, planes, size, stride), np.float32(0.5))
        middle = write("Transpose", middle, perm=[1, 0])
        low = write("Sub", middle, part(write, distance, 0, 2, 1))
        high = write("Add", middle, part(write, distance, 2, 4, 1))
        corners.append(write("Mul", write("Concat", low, high, axis=1), np.float32(stride)))
        scores.append(write("Sigmoid", part(write, flat, 4 * BINS, 4 * BINS + classes, 1)))
    return write("Concat", *corners, axis=2), write("Concat", *scores, axis=2)


def yolov8(
    classes: int = 3,
    size: Size | None = None,
    batch: int | None = None,
    seed: int = 0,
    opset: int = 17,
    metadata: Mapping[str, object] | None = None,
    half: bool = False,
    rows: bool = False,
) -> Exported:
    """A column for each cell: [N, 4 + C, cells]; `rows` turns them. `half` has it all in float16."""
    weights = random_weights(seed, 4 * BINS + classes)
    write = Writer()
    corners, scores = _distance_head(write, classes, size, batch, weights)
    low, high = part(write, corners, 0, 2, 1), part(write, corners, 2, 4, 1)
    centre = write("Div", write("Add", low, high), np.float32(2))
    if rows:
        columns = write("Concat", centre, write("Sub", high, low), scores, axis=1)
        write("Transpose", columns, name="output0", perm=[0, 2, 1])
    else:
        write("Concat", centre, write("Sub", high, low), scores, name="output0", axis=1)

    def reference(images: Array) -> tuple[Array, Array]:
        found, score = _distance_corners(images, weights, classes)
        return centred(found), score

    model = write.model([images_input(size, batch)], {"output0": 3}, opset, metadata)
    return Exported(in_half(model) if half else model, reference)


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """As exports with half=True are: float16 from the input to the output."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def end_to_end(
    classes: int = 3,
    size: Size | None = None,
    batch: int | None = None,
    seed: int = 0,
    opset: int = 17,
    metadata: Mapping[str, object] | None = None,
) -> Exported:
    """YOLOv10's: the best 300 pairs of cell and class, [N, 300, 6]."""
    weights = random_weights(seed, 4 * BINS + classes)
    write = Writer()
    corners, scores = _distance_head(write, classes, size, batch, weights)
    boxes, rows = write("Transpose", corners, perm=[0, 2, 1]), write("Transpose", scores, perm=[0, 2, 1])
    flat = write("Reshape", rows, np.asarray([batch or 0, -1]))
    write.nodes.append(helper.make_node("TopK", [flat, write.constant(np.asarray([QUERIES]))], ["top", "order"]))
    index = write("Unsqueeze", write("Div", "order", np.asarray(classes)), np.asarray([2]))
    chosen = write("GatherElements", boxes, write("Expand", index, np.asarray([1, 1, 4])), axis=1)
    label = write("Unsqueeze", write("Mod", "order", np.asarray(classes)), np.asarray([2]))
    last = write("Cast", label, to=TensorProto.FLOAT)
    write("Concat", chosen, write("Unsqueeze", "top", np.asarray([2])), last, name="output0", axis=2)

    def reference(images: Array) -> tuple[Array, Array]:
        found, score = _distance_corners(images, weights, classes)
        order = np.argsort(-score.reshape(len(images), -1), axis=1, kind="stable")[:, :QUERIES]
        cell, label = order // classes, order % classes
        chosen = np.take_along_axis(centred(found), cell[..., None], 1)
        top = np.take_along_axis(score.reshape(len(images), -1), order, 1)
        return chosen, top[..., None] * (label[..., None] == np.arange(classes))

    return Exported(write.model([images_input(size, batch)], {"output0": 3}, opset, metadata), reference)


def _queries(seed: int, classes: int) -> tuple[list[tuple[Array, Array]], Array, Array]:
    rng = np.random.default_rng(seed + 1)
    embedding = rng.normal(0, 1, (QUERIES, 16)).astype(np.float32)
    return random_weights(seed, 16, (32,)), embedding, rng.normal(0, 1, (16, 4 + classes)).astype(np.float32)


def _query_head(write: Writer, seed: int, classes: int, heads: bool) -> str:
    """[N, 300, 4 + C] in 0 to 1. `heads` has a step that mixes the batch with the heads, as attention's exports do."""
    weights, embedding, last = _queries(seed, classes)
    (planes,) = convolutions(write, weights)
    pooled = write("Squeeze", write("GlobalAveragePool", planes), np.asarray([3]))
    hidden = write("Tanh", write("Add", write("Transpose", pooled, perm=[0, 2, 1]), embedding))
    if heads:
        turned = write("Transpose", hidden, perm=[1, 0, 2])
        split = write("Reshape", turned, np.asarray([QUERIES, 4, 4]))
        hidden = write("Transpose", write("Reshape", split, np.asarray([QUERIES, 1, 16])), perm=[1, 0, 2])
    return write("Sigmoid", write("MatMul", hidden, last))


def _query_reference(images: Array, seed: int, classes: int) -> Array:
    weights, embedding, last = _queries(seed, classes)
    (values,) = features(images, weights)
    return sigmoid(np.tanh(values.mean(2)[:, None] + embedding) @ last)


def rtdetr(
    classes: int = 3,
    size: Size | None = (64, 64),
    batch: int | None = None,
    seed: int = 0,
    opset: int = 17,
    metadata: Mapping[str, object] | None = None,
    heads: bool = False,
    top: bool = False,
) -> Exported:
    """Ultralytics' RT-DETR: [N, 300, 4 + C] in shares of the image; `top` gives [N, 300, 6] with score and class."""
    write = Writer()
    rows = _query_head(write, seed, classes, heads)
    if top:
        scores = part(write, rows, 4, 4 + classes, 2)
        label = write("ArgMax", scores, axis=2, keepdims=1)
        best = write("GatherElements", scores, label, axis=2)
        last = write("Cast", label, to=TensorProto.FLOAT)
        write("Concat", part(write, rows, 0, 4, 2), best, last, name="output0", axis=2)
    else:
        write("Identity", rows, name="output0")

    def reference(images: Array) -> tuple[Array, Array]:
        found = _query_reference(images, seed, classes)
        scores = found[..., 4:]
        if top:
            scores = scores * (scores == scores.max(-1, keepdims=True))
        height, width = images.shape[2:]
        return found[..., :4] * [width, height, width, height], scores

    return Exported(write.model([images_input(size, batch)], {"output0": 3}, opset, metadata), reference)


def rtdetrv2(classes: int = 3, size: Size = (64, 64), seed: int = 0, opset: int = 16) -> Exported:
    """RT-DETRv2's own export: a second input with the size that boxes are wanted in; labels, boxes, scores."""
    write = Writer()
    rows = _query_head(write, seed, classes, False)
    shares = part(write, rows, 0, 4, 2)
    half = write("Div", part(write, shares, 2, 4, 2), np.float32(2))
    centre = part(write, shares, 0, 2, 2)
    corners = write("Concat", write("Sub", centre, half), write("Add", centre, half), axis=2)
    wanted = write("Cast", write("Tile", "orig_target_sizes", np.asarray([1, 2])), to=TensorProto.FLOAT)
    scaled = write("Mul", corners, write("Unsqueeze", wanted, np.asarray([1])))
    flat = write("Flatten", part(write, rows, 4, 4 + classes, 2), axis=1)
    count = write.constant(np.asarray([QUERIES]))
    write.nodes.append(helper.make_node("TopK", [flat, count], ["scores", "order"]))
    write("Mod", "order", np.asarray(classes), name="labels")
    index = write("Unsqueeze", write("Div", "order", np.asarray(classes)), np.asarray([2]))
    write("GatherElements", scaled, write("Tile", index, np.asarray([1, 1, 4])), name="boxes", axis=1)

    def reference(images: Array) -> tuple[Array, Array]:
        found = _query_reference(images, seed, classes)
        height, width = images.shape[2:]
        flat = found[..., 4:].reshape(len(images), -1)
        order = np.argsort(-flat, axis=1, kind="stable")[:, :QUERIES]
        chosen = np.take_along_axis(found[..., :4], (order // classes)[..., None], 1)
        top = np.take_along_axis(flat, order, 1)
        one = (order % classes)[..., None] == np.arange(classes)
        return chosen * [width, height, width, height], top[..., None] * one

    sizes = helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["N", 2])
    return Exported(
        write.model([images_input(size, None), sizes], {"labels": 2, "boxes": 3, "scores": 2}, opset), reference
    )


def yolo_mit(classes: int = 3, size: Size = (64, 96), seed: int = 0, auxiliary: bool = False) -> Exported:
    """MultimediaTechLab's YOLOv9: for each scale logits, distributions and distances; a second head may follow."""
    weights = random_weights(seed, 4 * BINS + classes)
    write, outputs = Writer(), {}
    for head in range(1 + auxiliary):
        used = weights if head == 0 else random_weights(seed + 1, 4 * BINS + classes)
        for planes, stride in zip(convolutions(write, used), STRIDES, strict=True):
            end = f"{stride}.{head}"
            cells = [size[0] // stride, size[1] // stride]
            outputs[part(write, planes, 4 * BINS, 4 * BINS + classes, 1)] = 4
            shaped = write("Reshape", part(write, planes, 0, 4 * BINS, 1), np.asarray([0, 4, BINS, *cells]))
            outputs[write("Transpose", shaped, name=f"bins{end}", perm=[0, 2, 1, 3, 4])] = 5
            share = write("Softmax", f"bins{end}", axis=1)
            weighted = write("Mul", share, np.arange(BINS, dtype=np.float32).reshape(1, -1, 1, 1, 1))
            outputs[write("ReduceSum", weighted, np.asarray([1]), name=f"box{end}", keepdims=0)] = 4

    def reference(images: Array) -> tuple[Array, Array]:
        found, score = _distance_corners(images, weights, classes)
        return centred(found), score

    return Exported(write.model([images_input(size, None)], outputs, 17), reference)


def overlaps(one: Array, others: Array) -> Array:
    """Intersection over union of a box [4] with others [k, 4], all given by corners."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = np.where((sides > 0).all(1), sides.prod(1), 0.0)
    union = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.asarray(shared / union)


def detections(boxes: Array, scores: Array, rule: Rule, suppress: bool = True) -> Array:
    """MegaDetector's rule for one image, one box at a time: rows of (corners, confidence, class)."""
    labels, best = scores.argmax(1), scores.max(1)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    left = [index for index in np.argsort(-best, kind="stable") if best[index] > rule.threshold]
    kept: list[int] = []
    while left and len(kept) < rule.most:
        kept.append(left.pop(0))
        if suppress and left:
            beaten = (labels[left] == labels[kept[-1]]) & (overlaps(corners[kept[-1]], corners[left]) > rule.iou)
            left = [index for index, gone in zip(left, beaten, strict=True) if not gone]
    return np.concatenate([corners[kept], best[kept, None], labels[kept, None].astype(np.float32)], 1)


def merged(scores: Array, members: Sequence[Sequence[int]]) -> Array:
    """Scores of a class map's classes: the best of each one's members."""
    return np.stack([scores[..., list(each)].max(-1) for each in members], -1)
