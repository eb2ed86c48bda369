"""A graph run in ONNX Runtime: what its shapes do not say, and whether it takes any number of images at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trapstream.models.onnx_graph import prefixed
from trapstream.models.original import open_session

Array = NDArray[np.float32]
BATCH = "batch"


class ProbeError(Exception):
    """ONNX Runtime cannot load the graph, or not run it on what it was given."""


class Probe:
    """A graph in ONNX Runtime, on the CPU."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """ProbeError where it cannot be loaded."""
        try:
            self._session = open_session(model)
        except Exception as error:  # ONNX Runtime's classes have no common one below this
            raise ProbeError(_short(error)) from error

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """All outputs, by name. ProbeError where it cannot run."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            return dict(zip(names, map(np.asarray, self._session.run(names, dict(feeds))), strict=True))
        except Exception as error:  # as above
            raise ProbeError(_short(error)) from error


def noise(images: int, size: tuple[int, int], seed: int = 0) -> Array:
    """Images [N, 3, H, W] in 0 to 1 that have little in common: noise on grounds of different brightness."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(0, 0.5, (images, 3, 1, 1))
    return (ground + rng.uniform(0, 0.5, (images, 3, *size))).astype(np.float32)


def with_free_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy of a graph for `batch` images that claims to take any number. Whether it does, `keeps_apart` finds out.

    A tracing exporter writes the number of images into the target shapes of Reshape. There it becomes 0, which
    means: as many as come in.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for number, node in enumerate(graph.node):
        keeps_zero = any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
        if node.op_type != "Reshape" or keeps_zero or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]])
        if shape.size > 1 and shape[0] == batch:
            free = np.concatenate([np.zeros(1, np.int64), shape[1:].astype(np.int64)])
            name = f"free batch {number}"
            graph.initializer.append(numpy_helper.from_array(free, name))
            node.input[1] = name
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) and dimensions[0].dim_value == batch:
            dimensions[0].dim_param = BATCH
    return copy


def keeps_apart(model: onnx.ModelProto, size: tuple[int, int]) -> bool | None:
    """Whether a raw graph answers for two images together as it does for each alone; None where none can tell.

    `size` is (height, width). Rows are compared column by column in sorted order: queries of nearly the same score
    may change places. Where both images get the same answer nothing is shown.
    """
    images = noise(2, size)
    name = model.graph.input[0].name
    try:
        probe = Probe(model)
        together = probe.run({name: images})
        alone = [probe.run({name: images[i : i + 1]}) for i in range(2)]
    except ProbeError:
        return False
    if all(_alike(alone[0][key][0], alone[1][key][0]) for key in together):
        return None
    return all(
        len(found) == 2 and _alike(found[i], alone[i][key][0]) for key, found in together.items() for i in range(2)
    )


def _alike(found: Array, expected: Array) -> bool:
    """Within two thousandths of the range: half-precision graphs are run too."""
    if found.shape != expected.shape:
        return False
    allowed = 0.002 * max(float(np.abs(expected).max(initial=0)), 1e-6)
    return bool(np.abs(np.sort(found, axis=0) - np.sort(expected, axis=0)).max(initial=0) <= allowed)


def one_by_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """A raw graph for one image inside a loop over any number of them: right for every network, and no faster."""
    inner = prefixed(model.graph, "one/")
    source, outputs = inner.input[0], [each.name for each in inner.output]
    size = [dimension.dim_value or dimension.dim_param for dimension in source.type.tensor_type.shape.dim][1:]
    first = numpy_helper.from_array(np.zeros(1, np.int64), "loop/first")
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["loop/image", "loop/first"], [source.name]),
            *inner.node,
            *(helper.make_node("Squeeze", [name, "loop/first"], [f"loop/{name}"]) for name in outputs),
        ],
        "one image",
        [helper.make_tensor_value_info("loop/image", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info(f"loop/{name}", TensorProto.FLOAT, [None, None]) for name in outputs],
        [*inner.initializer, first],
    )
    body.sparse_initializer.extend(inner.sparse_initializer)
    names = [each.name for each in model.graph.output]
    graph = helper.make_graph(
        [helper.make_node("Scan", ["images"], names, body=body, num_scan_inputs=1)],
        "images one by one",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [BATCH, *size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, None, None]) for name in names],
    )
    whole = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    whole.functions.extend(model.functions)
    return whole


def _short(error: Exception) -> str:
    """The last part of ONNX Runtime's long lines."""
    text = str(error).strip().splitlines()[0]
    return text[-300:]
