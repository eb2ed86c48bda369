"""Graphs that are written tensor by tensor are the graphs that they were."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tests import models
from trapstream.models.onnx_graph import hollow, large, write_graph


def grown() -> onnx.ModelProto:
    """A model with a large tensor among small ones, and metadata."""
    model = models.yolov8(3, metadata={"names": ["a", "b", "c"]}).model
    wide = np.random.default_rng(0).random((40, 1000), np.float32)
    model.graph.initializer.insert(1, numpy_helper.from_array(wide, "wide"))
    return model


def test_a_graph_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """Written tensor by tensor, a model is equal to the one that protobuf writes, and checks as one."""
    model = grown()
    write_graph(tmp_path / "m.onnx", model)
    assert onnx.load(tmp_path / "m.onnx") == model
    onnx.checker.check_model(tmp_path / "m.onnx")
    first = (tmp_path / "m.onnx").read_bytes()
    write_graph(tmp_path / "m.onnx", model)
    assert (tmp_path / "m.onnx").read_bytes() == first


def test_a_hollow_graph_is_filled_as_it_is_written(tmp_path: Path) -> None:
    """Without its large tensors a graph is small and checks; with them it is the same again, under other names too."""
    model = grown()
    shell = hollow(model)
    assert len(shell.SerializeToString()) < 100_000 < len(model.SerializeToString())
    onnx.checker.check_model(shell)
    write_graph(tmp_path / "m.onnx", shell, large(model))
    assert in_order(onnx.load(tmp_path / "m.onnx")) == in_order(model)
    next(node for node in shell.graph.node if node.output[0] == "wide").output[0] = "raw/wide"
    write_graph(tmp_path / "m.onnx", shell, large(model, "raw/"))
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert found["raw/wide"].shape == (40, 1000)


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its tensors by their names."""
    tensors = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(tensors)
    return copy
