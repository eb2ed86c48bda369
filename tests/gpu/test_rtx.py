"""The graphs that TensorRT gets, compiled ahead of time by TensorRT for RTX: the same API, parser and layers, no GPU.

`make rtx` installs it and runs this. Its compiler has no implementation of one layer, NMS, and its parser takes no
Scan: the tests say so, and compile everything else.
"""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.unit.models import checkpoints
from tests.unit.models.checkpoints import Maker, Obj
from tests.unit.models.test_exports import CASES, known
from trapstream.models import bundle_store
from trapstream.models.complete import complete
from trapstream.models.half import to_half
from trapstream.models.plan_key import Gpu, profiles
from trapstream.models.tensorrt import TensorRT
from trapstream.models.tensorrt_plan import PlanError, input_dims, prepare
from trapstream.models.yolov5.checkpoint import read_checkpoint

SUPPRESSION = "NonMaxSuppression"
LOOPED = "rtdetr, one image"
"""Its attention was traced for one image: trapstream/models/probe.py runs it in a loop."""


@pytest.fixture(scope="session")
def api() -> ModuleType:
    """TensorRT for RTX."""
    return importlib.import_module("tensorrt_rtx")


@pytest.fixture
def graph(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The demonstration model, as its bundle has it."""
    return onnx.load(str(bundle_store.find(tmp_path_factory.mktemp("home"), "demonstration").graph))


def compiled(api: ModuleType, graph: onnx.ModelProto, size: int = 640, stride: int = 32) -> bytes:
    """The plan with all profiles of a model."""
    shapes = profiles(size, stride, input_dims(graph), 8)
    compiler = TensorRT(api, Gpu("none", (8, 6)))
    return compiler.compile(graph.SerializeToString(), shapes)


def answered(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as TensorRT gets it, with its suppression, where it has one, answering two fixed cells."""
    prepared = prepare(graph)
    for node in prepared.graph.node:
        if node.op_type == SUPPRESSION:
            cells = numpy_helper.from_array(np.asarray([[0, 0, 1], [0, 1, 7]], np.int64))
            node.CopyFrom(helper.make_node("Constant", [], list(node.output), value=cells))
    return prepared


def test_bytes_must_be_cast_first(api: ModuleType, graph: onnx.ModelProto) -> None:
    """A bundle's own graph is refused, since it transposes bytes: this is what `prepare` is for."""
    with pytest.raises(PlanError, match=r"does not take the graph.*Transpose"):
        compiled(api, graph)


def test_all_but_the_suppression_compiles(api: ModuleType, graph: onnx.ModelProto) -> None:
    """With its suppression answering two fixed cells, the whole completed graph becomes a plan."""
    assert len(compiled(api, answered(graph))) > 100_000


def test_the_suppression_is_understood_and_not_implemented(api: ModuleType, graph: onnx.ModelProto) -> None:
    """The parser takes the whole graph; the compiler of RTX lacks the one layer, and the error names it."""
    (node,) = [node for node in graph.graph.node if node.op_type == SUPPRESSION]
    with pytest.raises(PlanError, match=rf"could not build.*{node.output[0]}.*no runners"):
        compiled(api, prepare(graph))


@pytest.mark.parametrize("name", [name for name in CASES if name != LOOPED])
def test_exports_of_every_family_compile(api: ModuleType, tmp_path: Path, name: str) -> None:
    """Read, completed and prepared, with the suppression as above."""
    _, raw = known(tmp_path, name)
    stride = raw.stride or 32
    size = max(raw.fixed) if raw.fixed else 96
    plan = compiled(api, answered(complete(raw)), size, stride)
    assert len(plan) > 10_000


def test_a_loop_over_the_images_is_refused_by_name(api: ModuleType, tmp_path: Path) -> None:
    """An export whose images had to be put into a loop: the parser does not take Scan with a network inside."""
    _, raw = known(tmp_path, LOOPED)
    with pytest.raises(PlanError, match=r"does not take the graph.*operation Scan"):
        compiled(api, prepare(complete(raw)), 64)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("build", [checkpoints.p6, checkpoints.p5])
def test_checkpoints_compile(api: ModuleType, tmp_path: Path, build: Callable[..., Obj], precision: str) -> None:
    """MegaDetector's layout and that of the first releases, in both precisions."""
    path = checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(build(Maker(1))))
    raw = read_checkpoint(path)
    if precision == "float16":
        raw = replace(raw, graph=to_half(raw.graph))
    plan = compiled(api, answered(complete(raw)), 128, raw.stride or 64)
    assert len(plan) > 10_000
