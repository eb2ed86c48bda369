"""An ONNX file, read with suspicion: whole, with its weights beside it, and with numbers in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, numpy_helper

from trapstream.core.errors import TrapstreamError
from trapstream.models.raw import opset_of

LARGEST = 2**31 - 1
"""Bytes: what one ONNX message may have, weights that lie beside the file included."""
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})


class ExportError(TrapstreamError):
    """A file that is no detector as this project reads them. One line that says what to do."""


def load_onnx(path: Path) -> onnx.ModelProto:
    """The model in `path`, with all its weights inside.

    Raises ExportError for what is not ONNX, is cut short, too large, or lacks weights, and for weights that are not
    numbers.
    """
    model = _parse(path)
    if opset_of(model) is None:
        raise ExportError(f"{path}: no opset is named, so the file is cut short or damaged: get it again")
    _fetch_weights(path, model)
    for name, tensor in _tensors(model.graph):
        if tensor.data_type in _FLOATS and np.isnan(_array(path, name, tensor).astype(np.float32, copy=False)).any():
            raise ExportError(f"{path}: the weights {name} hold values that are not numbers: the file is damaged")
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ExportError(f"{path}: {size:,} bytes; an ONNX file of more than {LARGEST:,} cannot be read")
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    if not content:
        raise ExportError(f"{path}: the file is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        # Every ONNX file begins with its version, a small number in field 1.
        cut = content[0] == 0x08 and content[1:2] <= b"\x20"
        what = "is cut short or damaged: get the file again" if cut else "is no ONNX file"
        raise ExportError(f"{path} {what}") from error
    if not model.graph.node or not model.graph.output:
        raise ExportError(f"{path} is no ONNX file, or has no graph: export the model again")
    return model


def _fetch_weights(path: Path, model: onnx.ModelProto) -> None:
    """Loads the weights that lie in files beside the model's own; onnx lets none of them lie elsewhere."""
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent.resolve()))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{path}: its weights that lie in another file cannot be read: {reason}") from error


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Every tensor of the graph and of those inside it, with a name for people."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield node.name or node.output[0], attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _tensors(attribute.g)


def _array(path: Path, name: str, tensor: TensorProto) -> NDArray[np.generic]:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ExportError(f"{path}: the weights {name} are cut short: get the file again") from error
