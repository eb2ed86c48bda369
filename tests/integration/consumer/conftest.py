"""A model that answers dark images and fails on bright ones, for the consumer's tests."""

from collections.abc import AsyncIterator

import pytest
import tritonclient.grpc.aio as triton

from tests import graphs
from tests.stacks import RunningStack
from trapstream.core.triton_names import triton_name
from trapstream.models.repository_entry import CpuServing, render_cpu


@pytest.fixture
async def picky(stack: RunningStack) -> AsyncIterator[str]:
    """A model that answers dark images and fails on bright ones, as a broken export does."""
    repository = stack.home / "triton" / "repository"
    graph = repository.parent / "picky.onnx"
    graphs.save_picky(graph, limit=200)
    name = triton_name("picky", "1")
    render_cpu(graph, name, repository, CpuServing(instances=1))
    client = triton.InferenceServerClient(stack.triton)
    await client.load_model(name)
    yield "picky"
    await client.unload_model(name)
    await client.close()


@pytest.fixture
async def tensor_only(stack: RunningStack) -> AsyncIterator[str]:
    """The stack's own graph as an entry that takes pixels as a tensor only, as a TensorRT plan does."""
    repository = stack.home / "triton" / "repository"
    name = triton_name("tensor-only", "1")
    config = render_cpu(stack.graph, name, repository, CpuServing(instances=1)) / "config.pbtxt"
    config.write_text("".join(line for line in config.read_text().splitlines(True) if '"places"' not in line))
    config.write_text(config.read_text().replace("},\n]", "}\n]").replace(" optional: true", ""))
    client = triton.InferenceServerClient(stack.triton)
    await client.load_model(name)
    yield "tensor-only"
    await client.unload_model(name)
    await client.close()
