"""YOLOv5's modules as ONNX nodes: each function writes one, from the attributes that the module had when it was saved.

What the modules compute is published with YOLOv5 (https://github.com/ultralytics/yolov5, models/common.py) and
unchanged from its release 1.0 to 7.0, up to their activations, which are read and not assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trapstream.models.yolov5 import CheckpointError
from trapstream.models.yolov5.graph import Array, Module, Tap, Writer

Layer = Callable[[Writer, Module, Tap], Tap]


def write(writer: Writer, module: Module, value: Tap) -> Tap:
    """Writes a module that takes one value. CheckpointError names one that is not known."""
    writer.enter()
    layer = LAYERS.get(module.kind)
    if layer is None:
        raise CheckpointError(
            f"{module.path} is a {module.kind}, which trapstream cannot read; export the model to ONNX with the "
            "software that made it, and import the ONNX file"
        )
    return layer(writer, module, value)


def concat(writer: Writer, values: list[Tap], path: str) -> Tap:
    """Puts values together by their channels."""
    name = writer.node("Concat", [value.name for value in values], path, axis=1)
    return Tap(name, sum(value.channels for value in values))


def convolution(writer: Writer, module: Module, value: Tap, norm: Module | None = None) -> Tap:
    """A Conv2d, with the batch norm after it folded into its weights."""
    if module.kind != "torch.nn.modules.conv.Conv2d" or module.get("padding_mode", str, "zeros") != "zeros":
        raise CheckpointError(f"{module.path} is a {module.kind}, and no plain Conv2d")
    weight = writer.needed(module, "weight", 4)
    bias = writer.numbers(module, "bias", 1)
    groups = module.get("groups", int, 1)
    if weight.shape[1] * groups != value.channels or (bias is not None and len(bias) != len(weight)):
        wanted = f"{module.path} takes {weight.shape[1] * groups} channels and is given {value.channels}"
        colour = ": it is no detector for colour images, which have 3" if value.name == "pixels" else ""
        raise CheckpointError(wanted + colour)
    if norm is not None:
        weight, bias = _folded(writer, norm, weight, bias)
    stride, padding, dilation = (_two(module, name) for name in ("stride", "padding", "dilation"))
    inputs = [value.name, writer.weights(weight, f"{module.path}.weight")]
    if bias is not None:
        inputs.append(writer.weights(bias, f"{module.path}.bias"))
    writer.node(
        "Conv", inputs, module.path, kernel_shape=weight.shape[2:], strides=stride, pads=padding * 2,
        dilations=dilation, group=groups,
    )  # fmt: skip
    return Tap(module.path, len(weight))


def _folded(writer: Writer, norm: Module, weight: Array, bias: Array | None) -> tuple[Array, Array]:
    """Weight and bias of the convolution that does what it and the batch norm after it did."""
    scale, shift = _norm(writer, norm, len(weight))
    moved = shift if bias is None else shift + bias * scale
    return (weight * scale[:, None, None, None]).astype(np.float32), moved.astype(np.float32)


def _norm(writer: Writer, norm: Module, channels: int) -> tuple[Array, Array]:
    """What a batch norm multiplies by and adds, in float64."""
    parts = ("weight", "bias", "running_mean", "running_var")
    gain, shift, mean, spread = (writer.needed(norm, name, 1).astype(np.float64) for name in parts)
    if {len(gain), len(shift), len(mean), len(spread)} != {channels}:
        raise CheckpointError(f"{norm.path} is for another number of channels than the {channels} before it")
    epsilon = norm.get("eps", float)
    if (spread + epsilon <= 0).any():
        raise CheckpointError(f"{norm.path} has a variance below zero")
    scale = gain / np.sqrt(spread + epsilon)
    return scale, shift - mean * scale


def activate(writer: Writer, module: Module | None, value: Tap, path: str) -> Tap:
    """What comes after a convolution, as the module says."""
    kind = "Identity" if module is None else module.kind.rpartition(".")[2]
    match kind:
        case "SiLU":
            gate = writer.node("Sigmoid", [value.name], f"{path}.gate")
            return Tap(writer.node("Mul", [value.name, gate], path), value.channels)
        case "LeakyReLU":
            assert module is not None
            slope = module.get("negative_slope", float)
            return Tap(writer.node("LeakyRelu", [value.name], path, alpha=slope), value.channels)
        case "Hardswish":
            return Tap(writer.node("HardSwish", [value.name], path), value.channels)
        case "ReLU":
            return Tap(writer.node("Relu", [value.name], path), value.channels)
        case "Identity":
            return value
    raise CheckpointError(f"{path} is a {kind}, an activation that trapstream cannot read")


def conv(writer: Writer, module: Module, value: Tap) -> Tap:
    """Conv: convolution, batch norm (gone where the model was fused before it was saved), activation."""
    found = convolution(writer, module.child("conv"), value, module.find("bn"))
    return activate(writer, module.find("act"), found, f"{module.path}.act")


def focus(writer: Writer, module: Module, value: Tap) -> Tap:
    """Focus: each 2 x 2 pixels as one of four times the channels, then a Conv."""
    parts = []
    for number, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        inputs = [
            writer.shared(np.asarray(each, np.int64))
            for each in ([row, column], [np.iinfo(np.int64).max] * 2, [2, 3], [2, 2])
        ]
        name = writer.node("Slice", [value.name, *inputs], f"{module.path}.slice.{number}")
        parts.append(Tap(name, value.channels))
    return conv(writer, module.child("conv"), concat(writer, parts, f"{module.path}.concat"))


def bottleneck(writer: Writer, module: Module, value: Tap) -> Tap:
    """Bottleneck: two Convs, and the input added where the model says so."""
    found = conv(writer, module.child("cv2"), conv(writer, module.child("cv1"), value))
    if not module.get("add", bool):
        return found
    return Tap(writer.node("Add", [value.name, found.name], f"{module.path}.add"), found.channels)


def csp(writer: Writer, module: Module, value: Tap) -> Tap:
    """BottleneckCSP: like C3, with two plain convolutions, and batch norm and activation after the two ways meet."""
    inner = sequence(writer, module.child("m"), conv(writer, module.child("cv1"), value))
    ways = [convolution(writer, module.child("cv3"), inner), convolution(writer, module.child("cv2"), value)]
    both = concat(writer, ways, f"{module.path}.concat")
    norm = module.child("bn")
    scale, shift = _norm(writer, norm, both.channels)
    names = [
        writer.weights(part.astype(np.float32)[:, None, None], f"{norm.path}.{name}")
        for name, part in (("scale", scale), ("shift", shift))
    ]
    scaled = writer.node("Mul", [both.name, names[0]], f"{norm.path}.scaled")
    normal = Tap(writer.node("Add", [scaled, names[1]], norm.path), both.channels)
    return conv(writer, module.child("cv4"), activate(writer, module.find("act"), normal, f"{module.path}.act"))


def c3(writer: Writer, module: Module, value: Tap) -> Tap:
    """C3: bottlenecks beside a short way, put together and mixed."""
    inner = sequence(writer, module.child("m"), conv(writer, module.child("cv1"), value))
    both = concat(writer, [inner, conv(writer, module.child("cv2"), value)], f"{module.path}.concat")
    return conv(writer, module.child("cv3"), both)


def spp(writer: Writer, module: Module, value: Tap) -> Tap:
    """SPP: the input beside its maxima over windows of several sizes."""
    first = conv(writer, module.child("cv1"), value)
    pools = [maximum(writer, pool, first) for pool in module.child("m").children()]
    return conv(writer, module.child("cv2"), concat(writer, [first, *pools], f"{module.path}.concat"))


def sppf(writer: Writer, module: Module, value: Tap) -> Tap:
    """SPPF: one window after another, which gives the same as SPP's growing ones."""
    found = [conv(writer, module.child("cv1"), value)]
    pool = module.child("m")
    for number in range(3):
        found.append(maximum(writer, Module(f"{pool.path}.{number}", pool.record), found[-1]))
    return conv(writer, module.child("cv2"), concat(writer, found, f"{module.path}.concat"))


def maximum(writer: Writer, module: Module, value: Tap) -> Tap:
    """MaxPool2d."""
    if module.kind != "torch.nn.modules.pooling.MaxPool2d" or module.record.state.get("return_indices"):
        raise CheckpointError(f"{module.path} is a {module.kind}, and no plain MaxPool2d")
    size, stride, padding, dilation = (_two(module, name) for name in ("kernel_size", "stride", "padding", "dilation"))
    name = writer.node(
        "MaxPool", [value.name], module.path, kernel_shape=size, strides=stride, pads=padding * 2, dilations=dilation,
        ceil_mode=int(module.get("ceil_mode", bool, False)),
    )  # fmt: skip
    return Tap(name, value.channels)


def upsample(writer: Writer, module: Module, value: Tap) -> Tap:
    """Upsample: each pixel as many, without a change of its value."""
    factor = module.record.state.get("scale_factor")
    factors = factor if isinstance(factor, tuple) and len(factor) == 2 else (factor, factor)
    if module.get("mode", str, "nearest") != "nearest" or not all(_whole(each) for each in factors):
        raise CheckpointError(f"{module.path} is an Upsample of a kind that YOLOv5 does not use")
    scales = writer.shared(np.asarray([1, 1, *factors], np.float32))
    name = writer.node(
        "Resize", [value.name, "", scales], module.path, mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    return Tap(name, value.channels)


def sequence(writer: Writer, module: Module, value: Tap) -> Tap:
    """Sequential: one after the other."""
    if module.kind != "torch.nn.modules.container.Sequential":
        raise CheckpointError(f"{module.path} is a {module.kind}, and no Sequential")
    for each in module.children():
        value = write(writer, each, value)
    return value


def _whole(factor: Any) -> bool:
    return type(factor) in (int, float) and factor in (1, 2, 4, 8)


def _two(module: Module, name: str) -> tuple[int, int]:
    """An attribute that is a whole number for both sides, or one for each."""
    value = module.record.state.get(name)
    pair = (value, value) if type(value) is int else value
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(type(n) is int and 0 <= n <= 1024 for n in pair):
        raise CheckpointError(f"{module.path} ({module.kind}) has no {name} that makes sense")
    return pair


LAYERS: dict[str, Layer] = {
    "models.common.Conv": conv,
    "models.common.DWConv": conv,
    "models.common.Focus": focus,
    "models.common.Bottleneck": bottleneck,
    "models.common.BottleneckCSP": csp,
    "models.common.C3": c3,
    "models.common.SPP": spp,
    "models.common.SPPF": sppf,
    "torch.nn.modules.pooling.MaxPool2d": maximum,
    "torch.nn.modules.upsampling.Upsample": upsample,
    "torch.nn.modules.container.Sequential": sequence,
}
"""The modules that take one value, by the name of their class."""
