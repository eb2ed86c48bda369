"""FP16 written into a raw graph: the layers work in half precision, what comes after the last of them in float32.

Strongly typed, as TensorRT 11 wants it: each change of precision is a Cast, weights are stored as FP16, and every
operation gets inputs of one type. The converter that comes with onnxruntime does not fit: it lowers everything but a
list of exceptions, so that boxes are decoded in FP16, where a step is half a pixel at 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
"""Where the time goes: these always work in FP16, unless they only decode boxes."""
LIGHT = frozenset({
    "Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Div", "Elu", "Erf", "Expand", "Flatten", "Gather",
    "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mul", "Neg", "PRelu", "Pad",
    "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
"""These work in the precision of what they are given. No sums, roots and exponentials: those overflow."""
_UNTYPED = frozenset({"Shape", "Size"})
"""These do not look at the values."""
_DECODING = 64
"""A convolution with fewer weights than this adds up a distribution over distances (YOLOv8): decoding, no layer."""
_TWIN = "half/"
"""Begins the name of a tensor's FP16 twin. The name itself always is the float32 one, so subgraphs stay as they are."""


def to_half(raw: onnx.ModelProto) -> onnx.ModelProto:
    """The raw graph in FP16, with the same float32 input and the same float32 outputs `boxes` and `scores`.

    Everything between the last layers and the outputs stays in float32: the sigmoid that makes scores of numbers, and
    the decoding of boxes. ValueError where a weight is larger than FP16 can hold.
    """
    model = onnx.ModelProto()
    model.CopyFrom(onnx.shape_inference.infer_shapes(raw))
    writer = _Writer(model.graph)
    tail = _tail(model.graph, writer.constants)
    for index, node in enumerate(model.graph.node):
        writer.add(node, whole=index in tail)
    for output in model.graph.output:
        writer.full(output.name)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(writer.nodes)
    _replace_weights(model.graph, writer)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer:
    """Writes the nodes anew, in their order; knows for each float tensor in which precision it is there."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = _constants(graph)
        self.halves: dict[str, NDArray[np.float16]] = {}
        """Weights by the name of the twin."""
        values = [*graph.input, *graph.value_info, *graph.output]
        self._float = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self._float |= self.constants.keys()
        self._half: set[str] = set()
        """Tensors that have a twin."""
        self._full: set[str] = set()
        """Tensors that were made in FP16 and are there in float32 too."""

    def add(self, node: onnx.NodeProto, *, whole: bool) -> None:
        """Appends the node, with the casts that it needs; in float32 where `whole`."""
        given = [name for name in _typed_inputs(node) if name in self._float]
        if not whole and self._works_in_half(node, given):
            self.nodes.append(self._halved(node, given))
            self._half.update(name for name in node.output if name)
            return
        if node.op_type in _UNTYPED and node.input[0] in self._half - self._full:
            node = _renamed(node, [_TWIN + node.input[0]], list(node.output))
        else:
            for name in (*node.input, *_captured(node)):
                self.full(name)
        self.nodes.append(node)

    def full(self, name: str) -> None:
        """Makes sure that the tensor is there in float32."""
        if name in self._half and name not in self._full:
            self.nodes.append(helper.make_node("Cast", [_TWIN + name], [name], f"full/{name}", to=TensorProto.FLOAT))
            self._full.add(name)

    def _works_in_half(self, node: onnx.NodeProto, given: list[str]) -> bool:
        if node.domain not in ("", "ai.onnx") or not given:
            return False
        if node.op_type in HEAVY:
            return True
        moving = [name for name in given if name not in self.constants]
        return node.op_type in LIGHT and bool(moving) and all(name in self._half for name in moving)

    def _halved(self, node: onnx.NodeProto, given: list[str]) -> onnx.NodeProto:
        for name in given:
            self._twin(name)
        inputs = [_TWIN + name if name in given else name for name in node.input]
        return _renamed(node, inputs, [_TWIN + name if name else name for name in node.output])

    def _twin(self, name: str) -> None:
        """Makes sure that the tensor is there in FP16."""
        twin = _TWIN + name
        if name in self.constants:
            self.halves.setdefault(twin, _as_half(name, self.constants[name]))
        elif name not in self._half:
            self.nodes.append(helper.make_node("Cast", [name], [twin], f"half/{name}", to=TensorProto.FLOAT16))
            self._half.add(name)
            self._full.add(name)


def _tail(graph: onnx.GraphProto, constants: dict[str, NDArray[np.float32]]) -> set[int]:
    """The nodes between the last layers and the outputs, by their index."""
    wanted, tail = {output.name for output in graph.output}, set()
    for index in range(len(graph.node) - 1, -1, -1):
        node = graph.node[index]
        if wanted.isdisjoint(node.output) or _is_layer(node, constants):
            continue
        tail.add(index)
        wanted.update(node.input)
        wanted.update(_captured(node))
    return tail


def _is_layer(node: onnx.NodeProto, constants: dict[str, NDArray[np.float32]]) -> bool:
    weights = [constants[name].size for name in node.input if name in constants]
    return node.op_type in HEAVY and (not weights or max(weights) >= _DECODING)


def _typed_inputs(node: onnx.NodeProto) -> list[str]:
    """The inputs that share the node's precision: of Resize the first only, its scales always are float32."""
    names = node.input[:1] if node.op_type == "Resize" else node.input
    return [name for name in names if name]


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """All float32 weights and Constant nodes, by name."""
    found = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    for node in graph.node:
        if node.op_type == "Constant":
            value = node.attribute[0]
            if value.name == "value" and value.t.data_type == TensorProto.FLOAT:
                found[node.output[0]] = numpy_helper.to_array(value.t)
            elif value.name in ("value_float", "value_floats"):
                found[node.output[0]] = np.asarray(helper.get_attribute_value(value), np.float32)
    return found


def _as_half(name: str, values: NDArray[np.float32]) -> NDArray[np.float16]:
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"the weight {name} is larger than FP16 can hold; keep this model in float32")
    return values.astype(np.float16)


def _renamed(node: onnx.NodeProto, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(inputs)
    copy.output.extend(outputs)
    return copy


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """What the node's subgraphs may take from outside: every name that they read."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _captured(inner)
            yield from (output.name for output in graph.output)


def _replace_weights(graph: onnx.GraphProto, writer: _Writer) -> None:
    """Adds the FP16 weights, and drops the float32 ones that nobody reads any more."""
    read = {name for node in graph.node for name in (*node.input, *_captured(node))}
    kept = [tensor for tensor in graph.initializer if tensor.name in read or tensor.data_type != TensorProto.FLOAT]
    inputs = [value for value in graph.input if value.name in read]
    used = [node for node in graph.node if node.op_type != "Constant" or node.output[0] in read]
    del graph.initializer[:], graph.input[:], graph.node[:]
    graph.initializer.extend([*kept, *(numpy_helper.from_array(half, twin) for twin, half in writer.halves.items())])
    graph.input.extend(inputs)
    graph.node.extend(used)
