"""Exports of every family: recognised, decoded and completed as their own tools' numbers have it, or refused."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models
from tests.models import Array, Exported, Writer
from trapstream.models.complete import Rule, complete
from trapstream.models.exports import Hints, read_export
from trapstream.models.onnx_file import ExportError
from trapstream.models.probe import Probe, noise
from trapstream.models.raw import RawModel

NAMES = ("animal", "person", "vehicle")
METADATA = {
    "names": dict(enumerate(NAMES)),
    "stride": 32,
    "imgsz": [64, 96],
    "task": "detect",
    "args": {"dynamic": True},
}
FOUR = {"names": ["a", "b", "c", "d"]}
told = Hints(names=NAMES)
Sizes = list[tuple[int, int]]
FREE: Sizes = [(64, 96), (96, 32)]
CASES: dict[str, tuple[Callable[[], Exported], str, Hints, Sizes]] = {
    "yolov5": (lambda: models.yolov5(metadata=METADATA), "yolov5", Hints(), FREE),
    "yolov5, one image": (lambda: models.yolov5(size=(64, 96), batch=1), "yolov5", Hints(), [(64, 96)]),
    "yolov5, three images": (lambda: models.yolov5(size=(64, 96), batch=3), "yolov5", Hints(), [(64, 96)]),
    "yolov5, old": (lambda: models.yolov5(size=(96, 96), opset=11, scales=True), "yolov5", Hints(), [(96, 96)]),
    "yolov5, one class": (lambda: models.yolov5(classes=1), "yolov5", Hints(), FREE),
    "yolov8": (lambda: models.yolov8(metadata=METADATA), "yolov8", Hints(), FREE),
    "yolov8, one image": (lambda: models.yolov8(size=(96, 64), batch=1), "yolov8", Hints(), [(96, 64)]),
    "yolov8, half": (lambda: models.yolov8(size=(64, 96), batch=1, half=True), "yolov8", Hints(), [(64, 96)]),
    "yolov8, two classes": (lambda: models.yolov8(classes=2), "yolov8", Hints(), FREE),
    "yolov8, turned": (lambda: models.yolov8(rows=True, metadata=METADATA), "yolov8", Hints(), FREE),
    "yolov8, turned, told": (lambda: models.yolov8(rows=True), "yolov8", Hints(family="yolov8"), FREE),
    "yolov8, newest opset": (lambda: models.yolov8(opset=23), "yolov8", Hints(), FREE),
    "yolov10": (lambda: models.end_to_end(metadata=METADATA), "end-to-end", Hints(), [(96, 96), (128, 64)]),
    "yolov10, one image": (
        lambda: models.end_to_end(size=(96, 96), batch=1),
        "end-to-end",
        told,
        [(96, 96)],
    ),
    "rtdetr": (lambda: models.rtdetr(metadata=METADATA), "rtdetr", Hints(), [(64, 64)]),
    "rtdetr, two classes": (lambda: models.rtdetr(classes=2), "rtdetr", Hints(), [(64, 64)]),
    "rtdetr, one image": (lambda: models.rtdetr(batch=1, heads=True), "rtdetr", Hints(), [(64, 64)]),
    "rtdetr, free": (lambda: models.rtdetr(size=None), "rtdetr", Hints(image_size=96), [(96, 96)]),
    "rtdetr, score and class": (lambda: models.rtdetr(top=True), "rtdetr", told, [(64, 64)]),
    "rtdetrv2": (models.rtdetrv2, "rtdetrv2", told, [(64, 64)]),
    "yolo-mit": (models.yolo_mit, "yolo-mit", Hints(), [(64, 96)]),
    "yolo-mit, two heads": (lambda: models.yolo_mit(auxiliary=True), "yolo-mit", Hints(), [(64, 96)]),
}
SUPPRESSED = ("end-to-end", "rtdetr", "rtdetrv2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@cache
def known(folder: Path, name: str) -> tuple[Exported, RawModel]:
    build, _, hints, _ = CASES[name]
    exported = build()
    return exported, read_export(saved(folder, exported.model), hints)


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def raw_answer(raw: RawModel, images: Array) -> tuple[Array, Array]:
    found = Probe(raw.graph).run({raw.graph.graph.input[0].name: images})
    return np.asarray(found["boxes"]), np.asarray(found["scores"])


@pytest.mark.parametrize("name", CASES)
def test_every_family_is_decoded_as_its_reference(folder: Path, name: str) -> None:
    """Boxes in pixels and scores equal the family's decoding in numpy, for several sizes and batches."""
    exported, raw = known(folder, name)
    _, family, _, sizes = CASES[name]
    assert raw.family == family
    assert raw.suppress == (family not in SUPPRESSED)
    assert raw.stretch == (family in {"rtdetr", "rtdetrv2"})
    allowed = (0.5, 2e-3) if "half" in name else (2e-3, 1e-5)
    for size in sizes:
        for images in (noise(1, size, seed=1), noise(3, size, seed=2)):
            boxes, scores = raw_answer(raw, images)
            expected_boxes, expected_scores = exported.reference(images)
            np.testing.assert_allclose(boxes, expected_boxes, atol=allowed[0], rtol=1e-4)
            np.testing.assert_allclose(scores, expected_scores, atol=allowed[1])


def undisputed(boxes: Array, scores: Array, rule: Rule, suppress: bool) -> list[Array] | None:
    """The reference's detections of each image; None where a pair of boxes overlaps almost by the limit."""
    answers = [
        [models.detections(*one, Rule(rule.threshold, rule.iou + off), suppress) for off in (-1e-4, 1e-4)]
        for one in zip(boxes, scores, strict=True)
    ]
    return None if any(low.shape != high.shape for low, high in answers) else [low for low, _ in answers]


@pytest.mark.parametrize("members", [None, ((2,), (0, 1))], ids=["own classes", "merged"])
@pytest.mark.parametrize("name", [name for name in CASES if "two classes" not in name and "one class" not in name])
def test_every_family_is_completed_as_its_reference(
    folder: Path, name: str, members: tuple[tuple[int, ...], ...] | None
) -> None:
    """Detections equal those of greedy suppression by class, one box at a time; end-to-end ones are not suppressed."""
    _, raw = known(folder, name)
    probe = Probe(complete(raw, members=members))
    checked = 0
    for size in CASES[name][3]:
        for seed in range(3, 7):
            pixels = np.round(noise(2, size, seed) * 255).astype(np.uint8)
            boxes, scores = raw_answer(raw, pixels.astype(np.float32) / np.float32(255))
            if members is not None:
                scores = models.merged(scores, members)
            expected = undisputed(boxes, scores, Rule(), raw.suppress)
            if expected is None:
                continue
            answer = probe.run({"images": np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))})
            found, counts = np.asarray(answer["detections"]), np.asarray(answer["count"])
            assert found.shape == (2, 300, 6)
            for rows, count, wanted in zip(found, counts, expected, strict=True):
                assert count == len(wanted) > 0
                np.testing.assert_allclose(rows[:count], wanted, rtol=1e-5, atol=1e-2)
                assert not rows[count:].any()
            checked += 1
            break
    assert checked == len(CASES[name][3])


@pytest.mark.parametrize(
    "name",
    ["yolov5", "yolov5, one image", "yolov8", "yolov8, turned", "yolov10", "rtdetr, one image", "rtdetrv2", "yolo-mit"],
)
def test_openvino_takes_every_family(folder: Path, name: str) -> None:
    """The completed graph answers in OpenVINO, in float32, as in ONNX Runtime."""
    _, raw = known(folder, name)
    model = complete(raw)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model=model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for seed in range(3, 7):
        pixels = np.round(noise(2, CASES[name][3][0], seed) * 255).astype(np.uint8)
        if undisputed(*raw_answer(raw, pixels.astype(np.float32) / np.float32(255)), Rule(), raw.suppress) is not None:
            break
    else:
        pytest.fail("every pair of images has a pair of boxes at the limit: take other seeds")
    images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    expected, found = Probe(model).run({"images": images}), compiled({"images": images})
    np.testing.assert_array_equal(found["count"], expected["count"])
    # Scores that are nearly the same may change places.
    one, other = (np.sort(np.asarray(each["detections"], np.float32), axis=1) for each in (found, expected))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-2)


def test_metadata_are_believed(folder: Path) -> None:
    """Names, stride and size come from the file; what the user says goes before them."""
    path = saved(folder, models.yolov8(metadata=METADATA).model)
    raw = read_export(path)
    assert (raw.classes, raw.stride, raw.image_size, raw.fixed) == (NAMES, 32, 96, None)
    raw = read_export(path, Hints(names=("x", "y", "z"), stride=64, image_size=640))
    assert (raw.classes, raw.stride, raw.image_size) == (("x", "y", "z"), 64, 640)


def test_what_a_file_does_not_tell_stays_open(folder: Path) -> None:
    """Without metadata the stride comes from the grids; names and size of a free model are left to the user."""
    raw = read_export(saved(folder, models.yolov5().model))
    assert (raw.classes, raw.stride, raw.image_size, raw.fixed) == (None, 32, None, None)
    raw = read_export(saved(folder, models.yolov5(size=(64, 96), batch=1).model))
    assert (raw.image_size, raw.stride, raw.fixed) == (96, 32, (64, 96))


@pytest.mark.parametrize("names", ["__import__('os').system('true')", "{0: 'a', 2: 'b'}", "[" * 5000, "{0: 1}"])
def test_names_that_cannot_be_read_are_not_told(folder: Path, names: str) -> None:
    """Metadata are literals, never run; what is none counts as not told."""
    assert read_export(saved(folder, models.yolov5(metadata={"names": names}).model)).classes is None


def test_an_export_with_suppression_says_so(folder: Path) -> None:
    """What nms=True has dropped cannot come back: the model's user is told."""
    metadata = METADATA | {"args": {"nms": True, "conf": 0.3}}
    raw = read_export(saved(folder, models.end_to_end(metadata=metadata).model))
    assert "below 0.3 never appear" in raw.notes[0]


def test_suppression_inside_that_finds_nothing_is_end_to_end(folder: Path) -> None:
    """Rows of zeros for an image of noise are an export's empty answer."""
    write = Writer()
    one = write("ReduceMean", "images", axes=[1, 2, 3], keepdims=1)
    empty = write("Mul", write("Squeeze", one, np.asarray([3])), np.zeros((1, 300, 6), np.float32))
    write("Identity", empty, name="output0")
    model = write.model([models.images_input((64, 64), None)], {"output0": 3}, 17)
    raw = read_export(saved(folder, model), told)
    assert (raw.family, raw.suppress) == ("end-to-end", False)


def test_a_loop_runs_what_cannot_be_freed(folder: Path) -> None:
    """A graph that mixes images with attention's heads is run one image after the other; others are not."""
    assert [node.op_type for node in known(folder, "rtdetr, one image")[1].graph.graph.node] == ["Scan"]
    assert "Scan" not in {node.op_type for node in known(folder, "yolov8, one image")[1].graph.graph.node}


def test_weights_among_the_inputs(folder: Path) -> None:
    """Old files list their weights as inputs: they are not taken for images."""
    exported = models.yolov5(size=(64, 64), batch=1, opset=11)
    graph = exported.model.graph
    graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)) for each in graph.initializer
    )
    exported.model.ir_version = 3
    raw = read_export(saved(folder, exported.model))
    images = noise(2, (64, 64))
    np.testing.assert_allclose(raw_answer(raw, images)[1], exported.reference(images)[1], atol=1e-5)


def test_weights_beside_the_file(folder: Path) -> None:
    """Weights in a file beside it are read; one that is missing or elsewhere is named."""
    path = folder / "split.onnx"
    exported = models.yolov5(size=(64, 64), batch=1)
    onnx.save_model(exported.model, path, save_as_external_data=True, location="split.weights", size_threshold=100)
    images = noise(1, (64, 64))
    np.testing.assert_allclose(raw_answer(read_export(path), images)[1], exported.reference(images)[1], atol=1e-5)
    (folder / "split.weights").rename(folder / "other.weights")
    with pytest.raises(ExportError, match=r"another file cannot be read: .*split\.weights"):
        read_export(path)
    content = path.read_bytes().replace(b"split.weights", b"../it.weights")
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"another file cannot be read: .*it\.weights"):
        read_export(path)


def simple(shape: list[Any], output: Callable[[Writer], str], dimensions: int, element: int = TensorProto.FLOAT) -> Any:
    """A model whose output is made of the mean of its input."""
    write = Writer()
    write("ReduceMean", "images", name="mean", keepdims=1)
    write("Identity", output(write), name="out")
    value = helper.make_tensor_value_info("images", element, shape)
    return lambda: write.model([value], {"out": dimensions}, 17)


def filled(*shape: int, value: float = 0.5) -> Callable[[Writer], str]:
    return lambda write: write(
        "Reshape",
        write("Mul", np.full(shape, value, np.float32), write("Clip", "mean", np.float32(1), np.float32(1))),
        np.asarray(shape),
    )


def with_nan() -> onnx.ModelProto:
    model = models.yolov5().model
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0, 0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def with_output(extra: str, dimensions: int) -> onnx.ModelProto:
    model = models.yolov8(size=(64, 64)).model
    source = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.append(helper.make_node("Identity", [source], [extra]))
    model.graph.output.append(helper.make_tensor_value_info(extra, TensorProto.FLOAT, [None] * dimensions))
    return model


def not_freed() -> onnx.ModelProto:
    model = models.rtdetr(batch=1, heads=True).model
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.tolist() in ([300, 4, 4], [300, 1, 16]):
            wider = [300, 16, 4] if values[1] == 4 else [300, 4, 16]
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(wider), tensor.name))
    return model


IMAGE = ["N", 3, 64, 64]
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], Hints, str]] = {
    "classifier": (simple(IMAGE, filled(1, 1000), 2), Hints(), "a classifier, not a detector"),
    "one channel": (simple(["N", 1, 64, 64], filled(1, 300, 6), 3), Hints(), "1 channel; photographs have 3"),
    "rows of pixels": (simple(["N", 64, 64, 3], filled(1, 300, 6), 3), Hints(), "export from PyTorch"),
    "bytes": (
        simple(IMAGE, lambda w: w("Cast", "images", to=1), 4, TensorProto.UINT8),
        Hints(),
        "takes uint8",
    ),
    "no images": (simple(["N", 3], filled(1, 300, 6), 3), Hints(), "a detector takes images"),
    "half free": (simple(["N", 3, 64, "W"], filled(1, 300, 6), 3), Hints(), "only one side"),
    "masks": (lambda: with_output("output1", 4), Hints(), "masks or more"),
    "task": (lambda: models.yolov8(metadata={"task": "segment"}).model, Hints(), "for the task segment"),
    "undecoded": (simple(IMAGE, filled(1, 84, 7, value=-3), 3), Hints(), "scores go from -3 to -3"),
    "no layout": (simple(IMAGE, filled(1, 2000, 7), 3), Hints(), "known are yolov5"),
    "not in pixels": (simple(IMAGE, filled(1, 84, 8), 3), Hints(family="yolov8"), "not in pixels"),
    "logits": (simple(IMAGE, filled(1, 252, 8, value=7), 3), Hints(), "scores go from 7 to 7"),
    "names of others": (lambda: models.yolov8(metadata=FOUR).model, Hints(), "3 classes, and there are 4 names"),
    "ambiguous": (lambda: models.yolov8(classes=4, rows=True).model, Hints(), "--names or --family decides"),
    "class count": (lambda: models.end_to_end().model, Hints(), "--names tells them"),
    "class beyond": (lambda: models.end_to_end().model, Hints(names=("a", "b")), "and there are 2 names"),
    "size of rtdetr": (lambda: models.rtdetr(size=None).model, Hints(), "--image-size tells which"),
    "other size": (lambda: models.yolov8(size=(64, 64)).model, Hints(image_size=640), "can only be 64"),
    "other family": (lambda: models.yolov8().model, Hints(family="rtdetr"), "as rtdetr its boxes"),
    "no such family": (lambda: models.yolov8().model, Hints(family="yolo3000"), "there is yolov5"),
    "opset": (lambda: models.yolov8(opset=24).model, Hints(), "opset 24 cannot be read"),
    "nan": (with_nan, Hints(), "values that are not numbers"),
    "four images": (not_freed, Hints(), "exactly 4 images at a time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(folder: Path, name: str) -> None:
    """One line, with the file's name, says what is wrong or what has to be told."""
    build, hints, words = REFUSED[name]
    with pytest.raises(ExportError, match=words) as caught:
        read_export(saved(folder, build()), hints)
    assert "\n" not in str(caught.value)
    if name != "no such family":
        assert str(folder / "model.onnx") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: b"", "is empty"),
        (lambda _: b"PK\3\4 a checkpoint", "no ONNX file"),
        (lambda _: b"\xff" * 1000, "no ONNX file"),
        (lambda _: b"hello\n" * 100, "no ONNX file"),
        (lambda whole: whole[: len(whole) // 2], "cut short"),
        (lambda whole: whole[:-10], "cut short|no opset"),
    ],
)
def test_bytes_that_are_no_model(folder: Path, change: Callable[[bytes], bytes], words: str) -> None:
    """A file that is something else, or was cut short, is called so."""
    path = saved(folder, models.yolov5(size=(64, 64)).model)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ExportError, match=words):
        read_export(path)


def test_a_missing_file(folder: Path) -> None:
    """A file that is not there is named, without a traceback."""
    with pytest.raises(ExportError, match=r"absent\.onnx: No such file"):
        read_export(folder / "absent.onnx")
