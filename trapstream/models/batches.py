"""Detectors whose graph was written for a fixed number of images, brought to any number."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trapstream.models.onnx_graph import prefixed
from trapstream.models.probe import Array, Probe, ProbeError, noise

BATCH = "batch"


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
