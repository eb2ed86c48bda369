"""Writes an ONNX graph node by node, with the weights put straight into it: a large model is in memory once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from trapstream.models.yolov5 import CheckpointError
from trapstream.models.yolov5.archive import Archive
from trapstream.models.yolov5.pickled import Record, Tensor

OPSET = 17
Array = npt.NDArray[Any]
_DEPTH = 30
"""Modules within modules, at most."""
_MODULES = 5000
_MOST = 450_000_000
"""Numbers in a graph: an ONNX file of one piece holds 2 GB. YOLOv5x6 has 140 million."""


@dataclass(frozen=True)
class Tap:
    """A value in the graph, of shape [N, channels, H, W]."""

    name: str
    channels: int


@dataclass(frozen=True)
class Module:
    """A module of the model, and where it is in it."""

    path: str
    record: Record

    @property
    def kind(self) -> str:
        """The name of its class, with its package."""
        return self.record.kind

    def get(self, name: str, kind: type[Any], default: Any = None) -> Any:
        """An attribute of that type. CheckpointError where it is missing and has no default, or is something else."""
        value = self.record.state.get(name, default)
        if type(value) is not kind:
            raise CheckpointError(f"{self.path} ({self.kind}) has no {name} that is a {kind.__name__}")
        return value

    def children(self) -> list[Module]:
        """The modules in it, in their order."""
        return [self.child(name) for name in self.get("_modules", dict, {})]

    def child(self, name: str) -> Module:
        """One module in it. CheckpointError where there is none of that name."""
        found = self.find(name)
        if found is None:
            raise CheckpointError(f"{self.path} ({self.kind}) has no module {name}")
        return found

    def find(self, name: str) -> Module | None:
        """One module in it, or None."""
        record = self.get("_modules", dict, {}).get(name)
        if not isinstance(record, Record) or not isinstance(name, str):
            return None
        if self.path.count(".") > _DEPTH:
            raise CheckpointError(f"{self.path[:60]}... has modules within modules without end")
        return Module(f"{self.path}.{name}" if self.path else name, record)

    def tensor(self, name: str) -> Tensor | None:
        """A parameter or buffer, or None."""
        for kind in ("_parameters", "_buffers"):
            value = self.get(kind, dict, {}).get(name)
            if isinstance(value, Tensor):
                return value
        value = self.record.state.get(name)
        return value if isinstance(value, Tensor) else None


class Writer:
    """A graph that is being written, and the weights that it takes from the archive."""

    def __init__(self, archive: Archive, progress: Callable[[int], None]) -> None:
        """`progress` is told how many numbers are in the graph."""
        self.model = onnx.ModelProto(ir_version=8, producer_name="trapstream")
        self.model.opset_import.append(helper.make_opsetid("", OPSET))
        self.model.graph.name = "yolov5"
        self._archive = archive
        self._progress = progress
        self._count = 0
        self._shared: set[str] = set()
        self._modules = 0

    def enter(self) -> None:
        """Counts a module. One that is in many others, and those in many again, would be written without end."""
        self._modules += 1
        if self._modules > _MODULES:
            raise CheckpointError(f"the model has more than {_MODULES:,} modules, which no YOLOv5 has")

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Adds a node with one output, which has the node's name."""
        self.model.graph.node.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def split(self, value: str, sizes: list[int], axis: int, name: str) -> list[str]:
        """Adds a Split; the outputs are name.0, name.1, ..."""
        names = [f"{name}.{index}" for index in range(len(sizes))]
        inputs = [value, self.shared(np.asarray(sizes, np.int64))]
        self.model.graph.node.append(helper.make_node("Split", inputs, names, name, axis=axis))
        return names

    def weights(self, array: Array, name: str) -> str:
        """Adds weights to the graph."""
        self._count += array.size
        if self._count > _MOST:
            raise CheckpointError(f"the model has more than {_MOST:,} weights, which no ONNX file of one piece holds")
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        self._progress(self._count)
        return name

    def shared(self, array: Array) -> str:
        """Adds a small constant, once for all nodes that use the same."""
        text = "x".join(map(str, array.shape)) or "one"
        name = f"constant/{array.dtype}/{text}/{','.join(str(value) for value in array.flatten().tolist())}"
        if name not in self._shared:
            self._shared.add(name)
            self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def numbers(self, module: Module, name: str, sides: int) -> Array | None:
        """A module's parameter or buffer as float32 with so many sides, or None where it has none.

        CheckpointError where it is larger than its storage, has other sides, or has a number that is not finite.
        """
        tensor = module.tensor(name)
        if tensor is None:
            return None
        if len(tensor.shape) != sides or 0 in tensor.shape:
            raise CheckpointError(f"{module.path}.{name} has the shape {list(tensor.shape)}, which it cannot have")
        array = _array(tensor, self._archive, f"{module.path}.{name}")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{module.path}.{name} has weights that are no numbers (NaN or infinite)")
        return array

    def needed(self, module: Module, name: str, sides: int) -> Array:
        """As `numbers`; CheckpointError where there is none."""
        array = self.numbers(module, name, sides)
        if array is None:
            raise CheckpointError(f"{module.path} ({module.kind}) has no {name}")
        return array


def _array(tensor: Tensor, archive: Archive, name: str) -> Array:
    """The tensor's numbers as float32, contiguous."""
    storage = tensor.storage
    kind = np.dtype(np.uint16 if storage.kind == "bfloat16" else storage.kind)
    if int(np.prod(tensor.shape, dtype=np.float64)) > storage.count:
        raise CheckpointError(f"{name} is larger than its storage, which no weights are")
    flat = np.frombuffer(archive.storage(storage.key, storage.count * kind.itemsize), kind)
    strides = tuple(stride * kind.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
    if storage.kind == "bfloat16":  # the upper half of a float32
        return np.ascontiguousarray((view.astype(np.uint32) << 16).view(np.float32))
    return np.ascontiguousarray(view, np.float32)


def value_info(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    """A float32 input or output of the graph."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
