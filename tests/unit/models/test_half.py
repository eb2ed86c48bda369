"""FP16 written into a graph: small, valid, near the original, and exact where it matters."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.random_detector import yolov5
from trapstream.models.half import to_half
from trapstream.models.raw import RawModel


@pytest.fixture(scope="module")
def raw() -> onnx.ModelProto:
    return yolov5(width=0.125)


@pytest.fixture(scope="module")
def half(raw: onnx.ModelProto) -> onnx.ModelProto:
    return to_half(raw)


def types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor, as strict inference has it."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def test_all_layers_work_in_half_precision(half: onnx.ModelProto) -> None:
    """Every convolution takes and gives FP16, with FP16 weights."""
    kinds = types(half)
    layers = [node for node in half.graph.node if node.op_type == "Conv"]
    assert len(layers) == 60
    assert {kinds[name] for node in layers for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}


def test_what_follows_the_last_layers_stays_whole(half: onnx.ModelProto) -> None:
    """Scores and boxes are made in float32: sigmoid, sums and products of the head."""
    kinds, made = types(half), {name: node for node in half.graph.node for name in node.output}
    waiting, decoding = ["boxes", "scores"], set()
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.op_type != "Conv":
            decoding.add(node.op_type)
            typed = {kinds[name] for name in (*node.input, *node.output)} & {TensorProto.FLOAT16, TensorProto.FLOAT}
            assert node.op_type in ("Cast", "Shape") or typed <= {TensorProto.FLOAT}
            waiting.extend(node.input)
    assert {"Sigmoid", "Mul", "Add", "Concat", "Cast"} <= decoding


def test_it_is_half_as_large_and_changes_precision_seldom(raw: onnx.ModelProto, half: onnx.ModelProto) -> None:
    assert half.ByteSize() < 0.55 * raw.ByteSize()
    assert sum(node.op_type == "Cast" for node in half.graph.node) < 20


def test_its_answers_are_near(raw: onnx.ModelProto, half: onnx.ModelProto) -> None:
    image = np.random.default_rng(1).uniform(0, 1, (1, 3, 96, 160)).astype(np.float32)
    answers = [
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"images": image})
        for model in (raw, half)
    ]
    (boxes, scores), (near_boxes, near_scores) = answers
    assert near_boxes.dtype == near_scores.dtype == np.float32
    assert 0 < np.abs(boxes - near_boxes).max() < 1
    assert np.abs(scores - near_scores).max() < 0.005


def graph(nodes: list[onnx.NodeProto], weights: dict[str, npt.NDArray[Any]]) -> onnx.ModelProto:
    """A raw graph of these nodes, from `x` to `boxes` and `scores`."""
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("boxes", "scores")],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_layers_that_decode_distances_stay_whole() -> None:
    """YOLOv8 adds up a distribution over distances with a tiny convolution: it decodes boxes."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(16, 3, 3, 3)).astype(np.float32)}
    weights["distances"] = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["features"]),
        helper.make_node("Softmax", ["features"], ["likely"], axis=1),
        helper.make_node("Conv", ["likely", "distances"], ["boxes"]),
        helper.make_node("Sigmoid", ["features"], ["scores"]),
    ]
    half = to_half(graph(nodes, weights))
    assert {tensor.name for tensor in half.graph.initializer} == {"half/w", "distances"}


def test_subgraphs_find_what_they_take_from_outside() -> None:
    """A branch that reads a tensor made in FP16 gets it in float32."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["features"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    weights = {"w": np.ones((4, 3, 3, 3), np.float32), "yes": np.asarray(True)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["features"]),
        helper.make_node("If", ["yes"], ["boxes"], then_branch=branch, else_branch=branch),
        helper.make_node("Conv", ["boxes", "v"], ["scores"]),
    ]
    half = to_half(graph(nodes, weights | {"v": np.ones((16, 4, 1, 1), np.float32)}))
    session = ort.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"x": np.full((1, 3, 3, 3), 0.5, np.float32)})
    assert (float(boxes.max()), float(scores.max())) == (13.5, 54.0)


def test_a_weight_that_does_not_fit_is_told() -> None:
    """FP16 ends at 65,504."""
    weights = {"w": np.full((16, 3, 3, 3), 7e4, np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["boxes"]),
        helper.make_node("Sigmoid", ["boxes"], ["scores"]),
    ]
    with pytest.raises(ValueError, match="larger than FP16"):
        to_half(graph(nodes, weights))


def test_the_model_around_the_graph_stays(raw: onnx.ModelProto) -> None:
    """A RawModel with its graph in FP16 is a RawModel: same input, same outputs."""
    model = RawModel(graph=raw, family="yolov5", classes=None, image_size=320, stride=32)
    halved = replace(model, graph=to_half(model.graph)).graph.graph
    assert [value.name for value in halved.input] == ["images"]
    assert [value.name for value in halved.output] == ["boxes", "scores"]
    assert {value.type.tensor_type.elem_type for value in (*halved.input, *halved.output)} == {TensorProto.FLOAT}
