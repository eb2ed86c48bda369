"""YOLOv5's Detect: from the features of each level to boxes in pixels and scores, for any height, width and batch.

A cell of the level with stride s at column x and row y answers, for each of its anchors (w, h in pixels), with
sigmoids t: the box's centre is ((2 t - 0.5) + (x, y)) s, its sides are (2 t)^2 (w, h), and the score of a class is
that of the object times that of the class. https://github.com/ultralytics/yolov5, models/yolo.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trapstream.models.yolov5 import CheckpointError
from trapstream.models.yolov5.graph import Array, Module, Tap, Writer
from trapstream.models.yolov5.layers import convolution


@dataclass(frozen=True)
class Head:
    """What the model's last module says of itself."""

    strides: tuple[int, ...]
    classes: int


def detect(writer: Writer, module: Module, levels: list[Tap]) -> Head:
    """Writes the head; the graph then has `boxes` [N, A, 4] and `scores` [N, A, C].

    Cells are ordered as YOLOv5 orders them: by level, anchor, row, column. CheckpointError where a part is missing.
    """
    anchors = writer.needed(module, "anchors", 3)
    strides = writer.needed(module, "stride", 1)
    classes = module.get("nc", int)
    convolutions = module.child("m").children()
    if not len(levels) == len(convolutions) == len(anchors) == len(strides) or anchors.shape[2] != 2 or classes < 1:
        raise CheckpointError(f"{module.path} ({module.kind}) has levels, anchors and strides that do not fit together")
    if (strides < 1).any() or (strides % 1).any():
        raise CheckpointError(f"{module.path} has strides that are no whole numbers")
    boxes, scores = [], []
    for number, (each, value, anchor, stride) in enumerate(zip(convolutions, levels, anchors, strides, strict=True)):
        found = convolution(writer, each, value)
        if found.channels != len(anchor) * (classes + 5):
            raise CheckpointError(f"{each.path} has {found.channels} channels, and not those of {classes} classes")
        box, score = _decode(writer, found.name, anchor * stride, float(stride), classes, f"decode/{number}")
        boxes.append(box)
        scores.append(score)
    writer.node("Concat", boxes, "boxes", axis=1)
    writer.node("Concat", scores, "scores", axis=1)
    return Head(tuple(int(stride) for stride in strides), classes)


def _decode(writer: Writer, value: str, anchors: Array, stride: float, classes: int, name: str) -> tuple[str, str]:
    """One level: [N, anchors * (classes + 5), H, W] to boxes [N, anchors * H * W, 4] and scores [.., classes]."""
    split = writer.shared(np.asarray([0, len(anchors), classes + 5, -1], np.int64))
    apart = writer.node("Reshape", [value, split], f"{name}/apart")
    rows = writer.node("Transpose", [apart], f"{name}/rows", perm=[0, 1, 3, 2])
    answers = writer.node("Sigmoid", [rows], f"{name}/answers")
    centre, size, there, kind = writer.split(answers, [2, 2, 1, classes], 3, f"{name}/parts")

    two = writer.shared(np.asarray(2, np.float32))
    doubled = writer.node("Mul", [centre, two], f"{name}/doubled")
    moved = writer.node("Add", [doubled, _grid(writer, value, name)], f"{name}/moved")
    pixels = writer.node("Mul", [moved, writer.shared(np.asarray(stride, np.float32))], f"{name}/centre")
    wide = writer.node("Mul", [size, two], f"{name}/wide")
    square = writer.node("Mul", [wide, wide], f"{name}/square")
    sides = writer.shared(anchors.astype(np.float32)[None, :, None, :])
    sized = writer.node("Mul", [square, sides], f"{name}/size")
    box = writer.node("Concat", [pixels, sized], f"{name}/box", axis=3)
    score = writer.node("Mul", [there, kind], f"{name}/score")
    flat = [writer.shared(np.asarray([0, -1, last], np.int64)) for last in (4, classes)]
    return (
        writer.node("Reshape", [box, flat[0]], f"{name}/boxes"),
        writer.node("Reshape", [score, flat[1]], f"{name}/scores"),
    )


def _grid(writer: Writer, value: str, name: str) -> str:
    """(column - 0.5, row - 0.5) of each cell, row by row: [1, 1, H * W, 2], from the shape that `value` has."""
    shape = writer.node("Shape", [value], f"{name}/shape")
    zero, one = (writer.shared(np.asarray(number, np.float32)) for number in (0, 1))
    sides, ranges = [], []
    for axis, view in ((2, [-1, 1]), (3, [1, -1])):
        side = writer.node("Gather", [shape, writer.shared(np.asarray(axis, np.int64))], f"{name}/side.{axis}")
        whole = writer.node("Cast", [side], f"{name}/float.{axis}", to=1)
        steps = writer.node("Range", [zero, whole, one], f"{name}/range.{axis}")
        sides.append(writer.node("Unsqueeze", [side, writer.shared(np.asarray([0], np.int64))], f"{name}/one.{axis}"))
        ranges.append(writer.node("Reshape", [steps, writer.shared(np.asarray(view, np.int64))], f"{name}/line.{axis}"))
    both = writer.node("Concat", sides, f"{name}/sides", axis=0)
    rows, columns = (writer.node("Expand", [line, both], f"{line}.all") for line in ranges)
    flat = writer.shared(np.asarray([1, 1, -1, 1], np.int64))
    parts = [writer.node("Reshape", [each, flat], f"{each}.flat") for each in (columns, rows)]
    cells = writer.node("Concat", parts, f"{name}/cells", axis=3)
    return writer.node("Sub", [cells, writer.shared(np.asarray(0.5, np.float32))], f"{name}/grid")
