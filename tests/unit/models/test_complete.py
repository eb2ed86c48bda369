"""The completed graph against a straightforward reference, on random boxes and scores."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.models import detections, merged
from trapstream.models.complete import Rule, complete
from trapstream.models.raw import RawModel

Array = npt.NDArray[Any]


def stub(boxes: Array, scores: Array) -> RawModel:
    """A raw graph that answers with the given boxes and scores, times the brightest pixel of its input (1)."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["pixels"], ["peak"], keepdims=0),
            helper.make_node("Mul", ["b", "peak"], ["boxes"]),
            helper.make_node("Mul", ["s", "peak"], ["scores"]),
        ],
        "stub",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, list(boxes.shape)),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, list(scores.shape)),
        ],
        [numpy_helper.from_array(boxes, "b"), numpy_helper.from_array(scores, "s")],
    )
    return raw_model(graph)


def raw_model(graph: onnx.GraphProto, **values: Any) -> RawModel:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told: dict[str, Any] = {"family": "stub", "classes": None, "image_size": None, "stride": None}
    return RawModel(graph=model, **{**told, **values})


def run(model: onnx.ModelProto, images: Array) -> tuple[Array, Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    detections, count = session.run(["detections", "count"], {"images": images})
    return np.asarray(detections), np.asarray(count)


def random_answers(seed: int, images: int, cells: int, classes: int) -> tuple[Array, Array]:
    """Boxes that lie in clusters, so that many overlap, and scores without ties, many below the threshold."""
    rng = np.random.default_rng(seed)
    homes = rng.uniform(40, 600, (images, 6, 2))
    centre = homes[np.arange(images)[:, None], rng.integers(0, 6, (images, cells))] + rng.normal(
        0, 12, (images, cells, 2)
    )
    size = rng.uniform(20, 120, (images, cells, 2))
    order = rng.permuted(np.arange(images * cells * classes)).reshape(images, cells, classes)
    scores = (order + 1) / (images * cells * classes + 1)
    return np.concatenate([centre, size], 2).astype(np.float32), (scores**4).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 400), st.integers(1, 4))
def test_the_graph_follows_the_reference(seed: int, images: int, cells: int, classes: int) -> None:
    boxes, scores = random_answers(seed, images, cells, classes)
    detected, count = run(complete(stub(boxes, scores)), np.full((images, 8, 8, 3), 255, np.uint8))
    assert detected.shape == (images, 300, 6)
    assert detected.dtype == np.float32
    assert count.dtype == np.int32
    for found, number, box, score in zip(detected, count, boxes, scores, strict=True):
        expected = detections(box, score, Rule())
        assert number == len(expected)
        np.testing.assert_allclose(found[:number], expected, rtol=1e-5, atol=1e-3)
        assert not found[number:].any()


def test_no_more_than_three_hundred() -> None:
    cells = 1000
    centre = np.stack([np.arange(cells) * 50.0, np.zeros(cells)], 1)
    boxes = np.concatenate([centre, np.full((cells, 2), 10.0)], 1)[None].astype(np.float32)
    scores = np.linspace(0.1, 0.9, cells, dtype=np.float32)[None, :, None]
    found, count = run(complete(stub(boxes, scores)), np.full((1, 8, 8, 3), 255, np.uint8))
    assert count.tolist() == [300]
    np.testing.assert_array_equal(found[0, :, 4], scores[0, ::-1, 0][:300])


def test_nothing_found() -> None:
    boxes, scores = np.ones((2, 5, 4), np.float32), np.full((2, 5, 3), 0.005, np.float32)
    found, count = run(complete(stub(boxes, scores)), np.full((2, 8, 8, 3), 255, np.uint8))
    assert count.tolist() == [0, 0]
    assert not found.any()


def test_pixels_reach_the_network_as_planes_between_zero_and_one() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["x", "start", "stop", "axes"], ["corner"]),
            helper.make_node("Reshape", ["corner", "shape"], ["three"]),
            helper.make_node("Concat", ["three", "three", "three", "three"], ["boxes"], axis=2),
            helper.make_node("Identity", ["three"], ["scores"]),
        ],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 3, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3, 1]),
        ],
        [
            numpy_helper.from_array(np.asarray([0, 0]), "start"),
            numpy_helper.from_array(np.asarray([1, 1]), "stop"),
            numpy_helper.from_array(np.asarray([2, 3]), "axes"),
            numpy_helper.from_array(np.asarray([-1, 3, 1]), "shape"),
        ],
    )
    raw = raw_model(graph)
    image = np.zeros((1, 4, 6, 3), np.uint8)
    image[0, 0, 0] = (255, 102, 51)
    found, count = run(complete(raw, Rule(iou=1.0)), image)
    assert count.tolist() == [3]
    np.testing.assert_allclose(found[0, :3, 4], [1.0, 0.4, 0.2], rtol=1e-6)


def test_the_names_in_the_raw_graph_do_not_clash() -> None:
    boxes, scores = random_answers(1, 1, 30, 3)
    raw = stub(boxes, scores)
    raw.graph.graph.input[0].name = "images"
    raw.graph.graph.node[0].input[0] = "images"
    _, count = run(complete(raw), np.full((1, 8, 8, 3), 255, np.uint8))
    assert count[0] > 0


def test_a_graph_with_other_outputs_is_refused() -> None:
    raw = stub(*random_answers(1, 1, 3, 3))
    raw.graph.graph.output[0].name = "odd"
    with pytest.raises(ValueError, match="outputs boxes and scores"):
        complete(raw)


WHITE = np.full((1, 8, 8, 3), 255, np.uint8)


def one_image(*rows: tuple[float, float, float, float, float]) -> tuple[Array, Array]:
    """Boxes and scores of one class, of rows of x_min, y_min, x_max, y_max, score."""
    values = np.asarray(rows, np.float32)
    low, high = values[:, :2], values[:, 2:4]
    return np.concatenate([(low + high) / 2, high - low], 1)[None], values[None, :, 4:]


@pytest.mark.parametrize(("shift", "kept"), [(11, 2), (10, 1), (12, 2)])
def test_an_overlap_of_exactly_the_limit_stays(shift: int, kept: int) -> None:
    """18 of 40 is 0.45: such a pair stays, as with MegaDetector; a pixel closer and the weaker goes."""
    _, count = run(complete(stub(*one_image((0, 0, 29, 8, 0.9), (shift, 0, 29 + shift, 8, 0.5)))), WHITE)
    assert count.tolist() == [kept]


def test_ties_go_to_the_first_cell() -> None:
    """Of boxes with the same score the one of the lower index comes first, and suppresses the others."""
    apart = [(i * 40.0, 0.0, i * 40.0 + 20, 20.0, 0.5) for i in range(4)]
    close = [(i * 40.0 + 1, 0.0, i * 40.0 + 21, 20.0, 0.5) for i in range(4)]
    found, count = run(complete(stub(*one_image(*apart, *close))), WHITE)
    assert count.tolist() == [4]
    assert found[0, :4, 0].tolist() == [0, 40, 80, 120]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True), min_size=1, max_size=3),
)
def test_merged_classes_get_the_best_score_of_their_members(seed: int, members: list[list[int]]) -> None:
    """A class map inside the graph is the same as the reference over the best scores of each class's members."""
    boxes, scores = random_answers(seed, 1, 120, 5)
    found, count = run(complete(stub(boxes, scores), members=members), WHITE)
    expected = detections(boxes[0], merged(scores, members)[0], Rule())
    np.testing.assert_allclose(found[0, : count[0]], expected, rtol=1e-5, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 400))
def test_an_end_to_end_detector_is_not_suppressed(seed: int, cells: int) -> None:
    """What overlaps stays; the threshold and the limit of 300 hold all the same."""
    boxes, scores = random_answers(seed, 1, cells, 3)
    raw = dataclasses.replace(stub(boxes, scores), suppress=False)
    found, count = run(complete(raw), WHITE)
    expected = detections(boxes[0], scores[0], Rule(), suppress=False)
    np.testing.assert_allclose(found[0, : count[0]], expected, rtol=1e-5, atol=1e-3)
    assert not found[0, count[0] :].any()


@pytest.mark.parametrize("opset", [11, 13, 16, 17, 18, 20, 21, 23])
def test_every_opset_is_completed(opset: int) -> None:
    """Graphs of old opsets are brought to 17, those of newer ones stay in theirs; the answers are the same."""
    boxes, scores = random_answers(7, 1, 50, 3)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("Slice", ["flat", "zero", "one", "one"], ["first"]),
            helper.make_node("Clip", ["first", "bound", "bound"], ["peak"]),
            helper.make_node("Mul", ["b", "peak"], ["boxes"]),
            helper.make_node("Mul", ["s", "peak"], ["scores"]),
        ],
        "old",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3) for name in ("boxes", "scores")],
        [
            numpy_helper.from_array(boxes, "b"),
            numpy_helper.from_array(scores, "s"),
            numpy_helper.from_array(np.asarray([0]), "zero"),
            numpy_helper.from_array(np.asarray([1]), "one"),
            numpy_helper.from_array(np.float32(1), "bound"),
        ],
    )
    raw = raw_model(graph)
    raw.graph.opset_import[0].version = opset
    raw.graph.ir_version = 10 if opset > 20 else 7
    found, count = run(complete(raw), WHITE)
    expected = detections(boxes[0], scores[0], Rule())
    np.testing.assert_allclose(found[0, : count[0]], expected, rtol=1e-5, atol=1e-3)


def test_a_fixed_input_is_declared() -> None:
    """The completed graph of a model of one size takes that size alone, in any number."""
    raw = dataclasses.replace(stub(*random_answers(1, 1, 3, 3)), fixed=(64, 96))
    shape = complete(raw).graph.input[0].type.tensor_type.shape.dim
    assert [each.dim_value for each in shape][1:] == [64, 96, 3]
    assert shape[0].dim_param == "batch"
