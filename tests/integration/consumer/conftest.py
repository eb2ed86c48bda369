"""A model that answers dark images and fails on bright ones, for the consumer's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from onnx import TensorProto, helper

from trapstream.core.entries import entry_name
from trapstream.local import entry
from trapstream.local.testing import RunningStack, save_graph


@pytest.fixture
async def picky(stack: RunningStack) -> AsyncIterator[str]:
    """A model that answers dark images and fails on bright ones, as a broken export does."""
    repository = stack.home / "triton" / "repository"
    graph = repository.parent / "picky.onnx"
    write_picky(graph)
    name = entry_name("picky", "1")
    entry.render(graph, name, repository, entry.Serving(instances=1))
    client = triton.InferenceServerClient(stack.triton)
    await client.load_model(name)
    yield "picky"
    await client.unload_model(name)
    await client.close()


@pytest.fixture
async def tensor_only(stack: RunningStack) -> AsyncIterator[str]:
    """The stack's own graph as an entry that takes pixels as a tensor only, as a TensorRT plan does."""
    repository = stack.home / "triton" / "repository"
    name = entry_name("tensor-only", "1")
    config = entry.render(stack.graph, name, repository, entry.Serving(instances=1)) / "config.pbtxt"
    config.write_text("".join(line for line in config.read_text().splitlines(True) if '"places"' not in line))
    config.write_text(config.read_text().replace("},\n]", "}\n]").replace(" optional: true", ""))
    client = triton.InferenceServerClient(stack.triton)
    await client.load_model(name)
    yield "tensor-only"
    await client.unload_model(name)
    await client.close()


def write_picky(path: Path) -> None:
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
    save_graph(path, "picky", nodes, values)
