"""Nodes that make `boxes` and `scores`, as raw.py has them, of a detector's own outputs: one function a layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trapstream.models.layouts import Kind, Layout


class Nodes:
    """Nodes and constants on their way into a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | NDArray[np.generic], name: str = "", **attributes: object) -> str:
        """The output of a new node, called `name` where it matters. Arrays among the inputs become constants."""
        names = []
        for each in inputs:
            if isinstance(each, str):
                names.append(each)
                continue
            names.append(f"decode/constant{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(np.asarray(each), names[-1]))
        name = name or f"decode/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def columns(self, rows: str, start: int, stop: int) -> str:
        """Columns `start` to `stop` of [N, A, M]; a negative `stop` means all that follow."""
        stop = np.iinfo(np.int64).max if stop < 0 else stop
        return self.add("Slice", rows, _whole(start), _whole(stop), _whole(2))

    def split(self, rows: str, names: list[str], widths: list[int]) -> list[str]:
        """[N, A, M] in parts of `widths` columns, called `names`.

        Not by Slice: OpenVINO 2026 drops one that begins at 0 where single rows are taken from its result, and then
        finds that the widths differ.
        """
        self.constants.append(numpy_helper.from_array(np.asarray(widths, np.int64), "decode/widths"))
        self.nodes.append(helper.make_node("Split", [rows, "decode/widths"], names, axis=2))
        return names

    def floats(self, value: str) -> str:
        """`value` in float32."""
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def boxes(self, low: str, high: str) -> None:
        """`boxes` from corners."""
        half = np.asarray(0.5, np.float32)
        centre = self.add("Mul", self.add("Add", low, high), half)
        self.add("Concat", centre, self.add("Sub", high, low), name="boxes", axis=2)

    def single_scores(self, score: str, label: str, classes: int) -> None:
        """`scores` from one score and one label, each [N, A, 1]: the other classes get zero."""
        label = self.add("Cast", label, to=TensorProto.INT64)
        is_class = self.add("Equal", label, np.arange(classes, dtype=np.int64).reshape(1, 1, -1))
        self.add("Where", is_class, score, np.asarray(0.0, np.float32), name="scores")


def decode(layout: Layout, size: tuple[int, int] | None) -> Nodes:
    """The nodes for `layout`. `size` is the (height, width) of a fixed input, which layouts of shares need."""
    made = Nodes()
    _DECODERS[layout.kind](made, [made.floats(name) for name in layout.outputs], layout, size or (0, 0))
    return made


def _yolov5(to: Nodes, outputs: Sequence[str], layout: Layout, _size: tuple[int, int]) -> None:
    (rows,) = outputs
    _, objectness, classes = to.split(rows, ["boxes", "decode/objectness", "decode/classes"], [4, 1, layout.classes])
    to.add("Mul", classes, objectness, name="scores")


def _yolov8(to: Nodes, outputs: Sequence[str], layout: Layout, size: tuple[int, int]) -> None:
    (columns,) = outputs
    _yolov8_rows(to, [to.add("Transpose", columns, perm=[0, 2, 1])], layout, size)


def _yolov8_rows(to: Nodes, outputs: Sequence[str], layout: Layout, _size: tuple[int, int]) -> None:
    (rows,) = outputs
    to.split(rows, ["boxes", "scores"], [4, layout.classes])


def _end_to_end(to: Nodes, outputs: Sequence[str], layout: Layout, _size: tuple[int, int]) -> None:
    (rows,) = outputs
    to.boxes(to.columns(rows, 0, 2), to.columns(rows, 2, 4))
    to.single_scores(to.columns(rows, 4, 5), to.columns(rows, 5, 6), layout.classes)


def _rtdetr(to: Nodes, outputs: Sequence[str], _layout: Layout, size: tuple[int, int]) -> None:
    (rows,) = outputs
    to.add("Mul", to.columns(rows, 0, 4), _sides(size), name="boxes")
    to.add("Identity", to.columns(rows, 4, -1), name="scores")


def _rtdetr_rows(to: Nodes, outputs: Sequence[str], layout: Layout, size: tuple[int, int]) -> None:
    (rows,) = outputs
    to.add("Mul", to.columns(rows, 0, 4), _sides(size), name="boxes")
    to.single_scores(to.columns(rows, 4, 5), to.columns(rows, 5, 6), layout.classes)


def _rtdetrv2(to: Nodes, outputs: Sequence[str], layout: Layout, _size: tuple[int, int]) -> None:
    labels, boxes, scores = outputs
    to.boxes(to.columns(boxes, 0, 2), to.columns(boxes, 2, 4))
    to.single_scores(to.add("Unsqueeze", scores, _whole(2)), to.add("Unsqueeze", labels, _whole(2)), layout.classes)


def _mit(to: Nodes, outputs: Sequence[str], layout: Layout, size: tuple[int, int]) -> None:
    """Distances from the middle of each cell to the sides of the box, in units of the scale's stride."""
    lows, highs, scores = [], [], []
    assert layout.stride is not None
    for logits, distances, stride in zip(
        outputs[0::2], outputs[1::2], (layout.stride // 4, layout.stride // 2, layout.stride), strict=True
    ):
        scores.append(to.add("Sigmoid", _cells(to, logits, layout.classes)))
        reach = to.add("Mul", _cells(to, distances, 4), np.asarray(stride, np.float32))
        middles = _middles(size, stride)
        lows.append(to.add("Sub", middles, to.columns(reach, 0, 2)))
        highs.append(to.add("Add", middles, to.columns(reach, 2, 4)))
    to.boxes(to.add("Concat", *lows, axis=1), to.add("Concat", *highs, axis=1))
    to.add("Concat", *scores, name="scores", axis=1)


def _cells(to: Nodes, planes: str, channels: int) -> str:
    """[N, channels, h, w] as [N, h * w, channels]."""
    flat = to.add("Reshape", planes, np.asarray([0, channels, -1], np.int64))
    return to.add("Transpose", flat, perm=[0, 2, 1])


def _middles(size: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """The middles (x, y) of the cells of a grid, row by row: [1, h * w, 2]."""
    y, x = np.mgrid[0 : size[0] // stride, 0 : size[1] // stride]
    return np.asarray((np.stack([x, y], axis=-1) + 0.5) * stride, np.float32).reshape(1, -1, 2)


def _sides(size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    return np.asarray([width, height, width, height], np.float32)


def _whole(value: int) -> NDArray[np.int64]:
    return np.asarray([value], np.int64)


_DECODERS: dict[Kind, Callable[[Nodes, Sequence[str], Layout, tuple[int, int]], None]] = {
    Kind.YOLOV5: _yolov5,
    Kind.YOLOV8: _yolov8,
    Kind.YOLOV8_ROWS: _yolov8_rows,
    Kind.END_TO_END: _end_to_end,
    Kind.RTDETR: _rtdetr,
    Kind.RTDETR_ROWS: _rtdetr_rows,
    Kind.RTDETRV2: _rtdetrv2,
    Kind.MIT: _mit,
}
