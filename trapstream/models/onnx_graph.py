"""Graphs of half a gigabyte: renamed, taken apart and written with their weights in memory once.

protobuf copies a graph to serialise it, to put it into another, to check it: 560 MB of weights became 5 GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

_LARGE = 1 << 16
"""Bytes from which a tensor is taken out. What decides shapes is far smaller."""
_GRAPH, _INITIALIZER = 7, 5
"""The numbers of these fields in ONNX's ModelProto and GraphProto: https://github.com/onnx/onnx, onnx/onnx.proto."""


def prefixed(graph: onnx.GraphProto, prefix: str) -> onnx.GraphProto:
    """A copy in which every name begins with `prefix`, those inside nested graphs included.

    (onnx.compose's function of that kind forgets what a nested graph takes from the initialisers around it.)
    """
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    add_prefix(copy, prefix)
    return copy


def add_prefix(graph: onnx.GraphProto, prefix: str) -> None:
    """The same, in place: weights of half a gigabyte are not copied for a name."""
    for named in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        named.name = prefix + named.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = prefix + sparse.values.name
        sparse.indices.name = prefix + sparse.indices.name
    for node in graph.node:
        node.name = prefix + node.name if node.name else ""
        node.input[:] = [prefix + name if name else name for name in node.input]  # no name: an input left out
        node.output[:] = [prefix + name if name else name for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                add_prefix(inner, prefix)


def hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a constant of one number stands for each large tensor, under its name."""
    copy = _without(model, "graph")
    copy.graph.CopyFrom(_without(_without(model.graph, "initializer"), "node"))
    for tensor in model.graph.initializer:
        if _is_large(tensor):
            copy.graph.node.append(helper.make_node("Constant", [], [tensor.name], value_float=0.0))
        else:
            copy.graph.initializer.append(tensor)
    copy.graph.node.extend(model.graph.node)
    return copy


def large(model: onnx.ModelProto, prefix: str = "") -> dict[str, onnx.TensorProto]:
    """The tensors that `hollow` leaves out, by their name, which gets a prefix."""
    found = {}
    for tensor in model.graph.initializer:
        if _is_large(tensor):
            tensor.name = prefix + tensor.name
            found[tensor.name] = tensor
    return found


def write_graph(path: Path, model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto] | None = None) -> None:
    """Writes a graph, tensor by tensor, in the same bytes each time. OSError as the disk gives it.

    `weights` are those of a graph that is hollow.
    """
    weights = weights or {}
    tensors = [*model.graph.initializer, *weights.values()]
    shell = _without(_without(model.graph, "initializer"), "node")
    shell.node.extend(node for node in model.graph.node if node.output[0] not in weights)
    graph = shell.SerializeToString(deterministic=True)
    heads = [_head(_INITIALIZER, tensor.ByteSize()) for tensor in tensors]
    size = len(graph) + sum(len(head) + tensor.ByteSize() for head, tensor in zip(heads, tensors, strict=True))
    with path.open("wb") as file:
        file.write(_without(model, "graph").SerializeToString(deterministic=True))
        file.write(_head(_GRAPH, size))
        file.write(graph)
        for head, tensor in zip(heads, tensors, strict=True):
            file.write(head)
            file.write(tensor.SerializeToString(deterministic=True))


def _is_large(tensor: onnx.TensorProto) -> bool:
    return len(tensor.raw_data) >= _LARGE


def _without(message: Any, name: str) -> Any:
    """A copy of a message without one of its fields."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == name:
            continue
        if field.is_repeated:
            getattr(copy, field.name).extend(value)
        elif field.message_type is not None:
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy


def _head(field: int, size: int) -> bytes:
    """What stands before a message of that size in a field of that number: protobuf's tag and length."""
    return bytes([*_varint(field << 3 | 2), *_varint(size)])


def _varint(number: int) -> Iterator[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
