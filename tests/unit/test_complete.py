"""The completed graph against a straightforward reference, on random boxes and scores."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

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


def overlap(a: Array, b: Array) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    if (high <= low).any():
        return 0.0
    shared = float(np.prod(high - low))
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


def reference(boxes: Array, scores: Array, rule: Rule) -> Array:
    """MegaDetector's rule for one image, one box at a time: rows of (corners, confidence, class)."""
    labels = scores.argmax(1)
    best = scores.max(1)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    kept: list[int] = []
    for index in np.argsort(-best, kind="stable"):
        rivals = [k for k in kept if labels[k] == labels[index]]
        if best[index] > rule.threshold and all(overlap(corners[index], corners[k]) <= rule.iou for k in rivals):
            kept.append(int(index))
    kept = kept[: rule.most]
    return np.concatenate([corners[kept], best[kept, None], labels[kept, None].astype(np.float32)], 1)


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
    detections, count = run(complete(stub(boxes, scores)), np.full((images, 8, 8, 3), 255, np.uint8))
    assert detections.shape == (images, 300, 6)
    assert detections.dtype == np.float32
    assert count.dtype == np.int32
    for found, number, box, score in zip(detections, count, boxes, scores, strict=True):
        expected = reference(box, score, Rule())
        assert number == len(expected)
        np.testing.assert_allclose(found[:number], expected, rtol=1e-5, atol=1e-3)
        assert not found[number:].any()


def test_no_more_than_three_hundred() -> None:
    cells = 1000
    centre = np.stack([np.arange(cells) * 50.0, np.zeros(cells)], 1)
    boxes = np.concatenate([centre, np.full((cells, 2), 10.0)], 1)[None].astype(np.float32)
    scores = np.linspace(0.1, 0.9, cells, dtype=np.float32)[None, :, None]
    detections, count = run(complete(stub(boxes, scores)), np.full((1, 8, 8, 3), 255, np.uint8))
    assert count.tolist() == [300]
    np.testing.assert_array_equal(detections[0, :, 4], scores[0, ::-1, 0][:300])


def test_nothing_found() -> None:
    boxes, scores = np.ones((2, 5, 4), np.float32), np.full((2, 5, 3), 0.005, np.float32)
    detections, count = run(complete(stub(boxes, scores)), np.full((2, 8, 8, 3), 255, np.uint8))
    assert count.tolist() == [0, 0]
    assert not detections.any()


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
    detections, count = run(complete(raw, Rule(iou=1.0)), image)
    assert count.tolist() == [3]
    np.testing.assert_allclose(detections[0, :3, 4], [1.0, 0.4, 0.2], rtol=1e-6)


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
