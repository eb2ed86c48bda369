"""A model that answers dark images and fails on bright ones, for the consumer's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc.aio as triton
from onnx import TensorProto, helper, numpy_helper

from trapstream.core.entries import entry_name
from trapstream.local import entry
from trapstream.local.testing import RunningStack


@pytest.fixture
async def picky(stack: RunningStack) -> AsyncIterator[str]:
    """A model that answers dark images and fails on bright ones, as a broken export does."""
    repository = stack.home / "triton" / "repository"
    graph = repository.parent / "picky.onnx"
    _write_picky(graph)
    name = entry_name("picky", "1")
    entry.render(graph, name, repository, entry.Serving(instances=1))
    client = triton.InferenceServerClient(stack.triton)
    await client.load_model(name)
    yield "picky"
    await client.unload_model(name)
    await client.close()


def _write_picky(path: Path) -> None:
    """Brightness chooses a row of a table that has only one: the second is an error at run time."""
    values = {
        "axes": np.array([1, 2, 3], "i8"), "limit": np.float32(200), "table": np.zeros((1, 300, 6), "f4"),
        "ones": np.ones(1, "i4"),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "limit"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["detections"], axis=0),
        helper.make_node("Gather", ["ones", "row"], ["count"], axis=0),
    ]
    graph = helper.make_graph(
        nodes, "picky",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", 300, 6]),
            helper.make_tensor_value_info("count", TensorProto.INT32, ["N"]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
