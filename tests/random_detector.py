"""A YOLOv5 with random weights, of any size: what a real detector costs, without one.

Layers and layout are those of YOLOv5 6.0 (a strided 6 x 6 stem, C3 blocks, SPPF, a path-aggregation neck, one head
for each stride), so that `width=0.5, depth=0.33, classes=3` works as hard as YOLOv5s. The graph is a raw one: boxes
and scores come out (trapstream/models/raw.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
"""Widths and heights in pixels, by stride: YOLOv5's."""
SPREAD = 12.0
"""How much more cells differ in objectness than in all else: some are sure of something, most are of nothing."""


def yolov5(
    seed: int = 0, *, width: float = 0.5, depth: float = 0.33, classes: int = 3, shift: float = -14.0
) -> onnx.ModelProto:
    """The raw graph, with float32 `images` [N, 3, H, W] of any multiple of 32. The same arguments, the same bytes.

    `shift` moves the objectness: the lower, the fewer detections.
    """
    net = _Net(seed)
    sizes = [max(8, round(channels * width / 8) * 8) for channels in (64, 128, 256, 512, 1024)]
    times = [max(1, round(number * depth)) for number in (3, 6, 9, 3)]
    x = net.conv("images", 3, sizes[0], 6, 2, pad=2)
    steps = []
    for before, after, count in zip(sizes, sizes[1:], times, strict=False):
        x = net.c3(net.conv(x, before, after, 3, 2), after, after, count)
        steps.append(x)
    _, p3, p4, p5 = steps
    p5 = net.sppf(p5, sizes[4])
    top5 = net.conv(p5, sizes[4], sizes[3], 1)
    p4 = net.c3(net.concat(net.double(top5), p4), 2 * sizes[3], sizes[3], times[0], shortcut=False)
    top4 = net.conv(p4, sizes[3], sizes[2], 1)
    p3 = net.c3(net.concat(net.double(top4), p3), 2 * sizes[2], sizes[2], times[0], shortcut=False)
    p4 = net.concat(net.conv(p3, sizes[2], sizes[2], 3, 2), top4)
    p4 = net.c3(p4, 2 * sizes[2], sizes[3], times[0], shortcut=False)
    p5 = net.concat(net.conv(p4, sizes[3], sizes[3], 3, 2), top5)
    p5 = net.c3(p5, 2 * sizes[3], sizes[4], times[0], shortcut=False)
    levels = [net.head(p, sizes[2 + n], n, classes, shift) for n, p in enumerate((p3, p4, p5))]
    return net.model([boxes for boxes, _ in levels], [scores for _, scores in levels], classes)


class _Net:
    """Nodes and weights as they are made."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, NDArray[np.generic]] = {}

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"{kind}_{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def one(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.node(kind, list(inputs), **attributes)[0]

    def weight(self, values: NDArray[np.generic]) -> str:
        name = f"w{len(self._weights)}"
        self._weights[name] = values
        return name

    def floats(self, *values: float) -> str:
        return self.weight(np.asarray(values, np.float32))

    def whole(self, *values: int) -> str:
        return self.weight(np.asarray(values, np.int64))

    def convolution(self, x: str, given: int, made: int, size: int, stride: int, pad: int, gain: float) -> str:
        scale = gain / np.sqrt(given * size * size)
        kernel = self._rng.normal(0, scale, (made, given, size, size)).astype(np.float32)
        bias = self._rng.normal(0, 0.1, made).astype(np.float32)
        return self.one(
            "Conv",
            x,
            self.weight(kernel),
            self.weight(bias),
            kernel_shape=[size, size],
            strides=[stride] * 2,
            pads=[pad] * 4,
        )

    def conv(self, x: str, given: int, made: int, size: int, stride: int = 1, pad: int | None = None) -> str:
        # SiLU shrinks what goes through it; the gain makes up for that.
        y = self.convolution(x, given, made, size, stride, size // 2 if pad is None else pad, 1.7)
        return self.one("Mul", y, self.one("Sigmoid", y))

    def c3(self, x: str, given: int, made: int, times: int, *, shortcut: bool = True) -> str:
        half = made // 2
        y = self.conv(x, given, half, 1)
        for _ in range(times):
            inner = self.conv(self.conv(y, half, half, 1), half, half, 3)
            y = self.one("Mul", self.one("Add", y, inner), self.floats(0.7)) if shortcut else inner
        return self.conv(self.concat(y, self.conv(x, given, half, 1)), 2 * half, made, 1)

    def sppf(self, x: str, channels: int) -> str:
        y = [self.conv(x, channels, channels // 2, 1)]
        for _ in range(3):
            y.append(self.one("MaxPool", y[-1], kernel_shape=[5, 5], pads=[2] * 4))
        return self.conv(self.concat(*y), 2 * channels, channels, 1)

    def concat(self, *parts: str) -> str:
        return self.one("Concat", *parts, axis=1)

    def double(self, x: str) -> str:
        return self.one("Resize", x, "", self.floats(1, 1, 2, 2), mode="nearest")

    def head(self, x: str, channels: int, level: int, classes: int, shift: float) -> tuple[str, str]:
        """Boxes [N, h * w * 3, 4] in pixels and scores [N, h * w * 3, classes], as YOLOv5's Detect."""
        wide = 5 + classes
        y = self.convolution(x, channels, 3 * wide, 1, 1, 0, 6.0)
        y = self.one("Mul", self.one("Reshape", y, self.whole(0, 3, wide, -1)), self.weight(_row(wide, 1, SPREAD)))
        y = self.one("Sigmoid", self.one("Add", y, self.weight(_row(wide, 0, shift))))
        y = self.one("Transpose", y, perm=[0, 1, 3, 2])  # [N, 3, h * w, wide]
        xy, wh, sure, of_class = self.node("Split", [y, self.whole(2, 2, 1, classes)], 4, axis=3)
        stride = float(STRIDES[level])
        offset = self.one("Mul", self.one("Add", xy, xy), self.floats(stride))
        centre = self.one("Add", offset, self._corners(x, stride))
        anchors = self.weight(np.asarray(ANCHORS[level], np.float32).reshape(1, 3, 1, 2))
        double = self.one("Add", wh, wh)
        sides = self.one("Mul", self.one("Mul", double, double), anchors)
        boxes, scores = self.one("Concat", centre, sides, axis=3), self.one("Mul", of_class, sure)
        return self.one("Reshape", boxes, self.whole(0, -1, 4)), self.one("Reshape", scores, self.whole(0, -1, classes))

    def _corners(self, x: str, stride: float) -> str:
        """Where each cell's offset counts from: [h * w, 2] in pixels."""
        _, _, height, width = self.node("Split", [self.one("Shape", x), self.whole(1, 1, 1, 1)], 4, axis=0)
        zero, one, nothing = self.weight(np.asarray(0)), self.weight(np.asarray(1)), self.whole(0)
        rows = self.one("Range", zero, self.one("Squeeze", height, nothing), one)
        columns = self.one("Range", zero, self.one("Squeeze", width, nothing), one)
        shape = self.one("Concat", height, width, axis=0)
        ys = self.one(
            "Reshape", self.one("Expand", self.one("Unsqueeze", rows, self.whole(1)), shape), self.whole(-1, 1)
        )
        xs = self.one("Reshape", self.one("Expand", columns, shape), self.whole(-1, 1))
        cells = self.one("Cast", self.one("Concat", xs, ys, axis=1), to=TensorProto.FLOAT)
        return self.one("Mul", self.one("Sub", cells, self.floats(0.5)), self.floats(stride))

    def model(self, boxes: list[str], scores: list[str], classes: int) -> onnx.ModelProto:
        self._nodes.append(helper.make_node("Concat", boxes, ["boxes"], axis=1))
        self._nodes.append(helper.make_node("Concat", scores, ["scores"], axis=1))
        graph = helper.make_graph(
            self._nodes,
            "yolov5",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", "cells", 4]),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", "cells", classes]),
            ],
            [numpy_helper.from_array(values, name) for name, values in self._weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def _row(wide: int, value: float, objectness: float) -> NDArray[np.float32]:
    """`value` for each number of a cell, and `objectness` for that one."""
    values = np.full((1, 1, wide, 1), value, np.float32)
    values[0, 0, 4, 0] = objectness
    return values
