"""The graphs that TensorRT gets, compiled ahead of time by TensorRT for RTX: the same API, parser and layers, no GPU.

`make rtx` installs it and runs this. Its compiler has no implementation of one layer, NMS: the
tests say so, and compile everything around it.
"""

import importlib
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trapstream.models import store
from trapstream.models.plan import PlanError
from trapstream.models.plan_key import Gpu
from trapstream.models.profiles import profiles
from trapstream.models.tensorrt import TensorRT
from trapstream.models.tensorrt_graph import input_dims, prepare

SUPPRESSION = "NonMaxSuppression"


@pytest.fixture(scope="session")
def api() -> ModuleType:
    """TensorRT for RTX."""
    return importlib.import_module("tensorrt_rtx")


@pytest.fixture
def graph(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The demonstration model, as its bundle has it."""
    return onnx.load(str(store.find(tmp_path_factory.mktemp("home"), "demonstration").graph))


def compiled(api: ModuleType, graph: onnx.ModelProto) -> tuple[bytes, list[str]]:
    """The plan with all profiles of the demonstration model, and the phases that were reported."""
    phases: list[str] = []
    shapes = profiles(640, 32, input_dims(graph), 8)
    compiler = TensorRT(api, Gpu("none", (8, 6)))
    plan, _ = compiler.compile(graph.SerializeToString(), shapes, b"", lambda phase, *_: phases.append(phase))
    return plan, phases


def test_bytes_must_be_cast_first(api: ModuleType, graph: onnx.ModelProto) -> None:
    """A bundle's own graph is refused, since it transposes bytes: this is what `prepare` is for."""
    with pytest.raises(PlanError, match=r"does not take the graph.*Transpose"):
        compiled(api, graph)


def test_all_but_the_suppression_compiles(api: ModuleType, graph: onnx.ModelProto) -> None:
    """With its suppression answering two fixed cells, the whole completed graph becomes a plan, step by step."""
    prepared = prepare(graph)
    (node,) = [node for node in prepared.graph.node if node.op_type == SUPPRESSION]
    cells = numpy_helper.from_array(np.asarray([[0, 0, 1], [0, 1, 7]], np.int64))
    node.CopyFrom(helper.make_node("Constant", [], list(node.output), value=cells))
    plan, phases = compiled(api, prepared)
    assert len(plan) > 100_000
    assert phases


def test_the_suppression_is_understood_and_not_implemented(api: ModuleType, graph: onnx.ModelProto) -> None:
    """The parser takes the whole graph; the compiler of RTX lacks the one layer, and the error names it."""
    (node,) = [node for node in graph.graph.node if node.op_type == SUPPRESSION]
    with pytest.raises(PlanError, match=rf"could not build.*{node.output[0]}.*no runners"):
        compiled(api, prepare(graph))
