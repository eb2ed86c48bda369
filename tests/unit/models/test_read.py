"""Checkpoints become graphs that compute what their layers say."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.unit.models import checkpoints, reference
from tests.unit.models.checkpoints import Maker, Obj
from trapstream.models.yolov5 import CheckpointError
from trapstream.models.yolov5.checkpoint import read_checkpoint

ORIGINALS = sorted((Path(__file__).parents[4] / "shared" / "fixtures").glob("yolov5-*.pt"))
"""Checkpoints with the numbers of the original implementation. They lie beside some checkouts only."""
Array = np.ndarray[Any, Any]
Run = Callable[[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]


def opened(graph: onnx.ModelProto) -> Run:
    """The graph as a function of its pixels."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda pixels: [np.asarray(each) for each in session.run(None, {"pixels": pixels})]


def pixels(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("precision", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("build", [checkpoints.p6, checkpoints.p5])
def test_the_graph_computes_what_the_layers_say(build: Callable[..., Obj], precision: str, tmp_path: Path) -> None:
    """Every module, activation and precision: boxes to 0.001 pixels and scores to 0.0001 of the plain reference."""
    built = build(Maker(1, precision))
    path = checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built), precision == "bfloat16")
    raw = read_checkpoint(path)
    onnx.checker.check_model(raw.graph, full_check=True)
    image = pixels(2, 2, 3, 64, 128)
    boxes, scores = opened(raw.graph)(image)
    expected, likely = reference.predict(built, image)
    assert boxes.shape == expected.shape
    np.testing.assert_allclose(boxes, expected, atol=1e-3)
    np.testing.assert_allclose(scores, likely, atol=1e-4)
    assert np.ptp(scores) > 0.05  # the comparison is not one of zeros


def test_what_the_file_tells(tmp_path: Path) -> None:
    """Classes, stride, and the size where the options of the training are in the file."""
    file = tmp_path / "m.pt"
    raw = read_checkpoint(checkpoints.write(file, checkpoints.checkpoint(checkpoints.p6(Maker()))))
    assert (raw.classes, raw.stride, raw.image_size) == (("animal", "person", "vehicle"), 64, None)
    assert (raw.family, raw.fixed, raw.stretch, raw.suppress) == ("yolov5", None, False, True)
    told = checkpoints.checkpoint(checkpoints.p5(Maker()), opt={"imgsz": 640})
    raw = read_checkpoint(checkpoints.write(file, told))
    assert (raw.classes, raw.stride, raw.image_size) == (("cat", "dog"), 32, 640)


def test_megadetector_s_own_note_goes_before_the_training(tmp_path: Path) -> None:
    """Where MegaDetector's tools noted an image size in the file, its script takes that, and so do we."""
    told = checkpoints.checkpoint(checkpoints.p5(Maker()), opt={"imgsz": 640})
    file = noted(checkpoints.write(tmp_path / "m.pt", told), json.dumps({"model_type": "yolov5", "image_size": 960}))
    assert read_checkpoint(file).image_size == 960


@pytest.mark.parametrize("note", ["{", "[" * 100_000, f'{{"a": "{"x" * (1 << 20)}"}}'])
def test_a_note_that_cannot_be_read_is_one_line(note: str, tmp_path: Path) -> None:
    """A note cut short, nested without end or of a huge size says what it is."""
    file = noted(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(checkpoints.p5(Maker()))), note)
    with pytest.raises(CheckpointError, match=r"^megadetector_info\.json in the file [^\n]*$"):
        read_checkpoint(file)


def noted(file: Path, note: str) -> Path:
    """The checkpoint with a note of MegaDetector's tools."""
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/megadetector_info.json", note)
    return file


def test_any_batch_and_size(tmp_path: Path) -> None:
    """One graph takes every multiple of its stride and every batch; an image is answered alone."""
    built = checkpoints.p6(Maker(3))
    run = opened(read_checkpoint(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built))).graph)
    for shape in ((3, 3, 64, 64), (1, 3, 128, 64)):
        image = pixels(sum(shape), *shape)
        expected, _ = reference.predict(built, image)
        np.testing.assert_allclose(run(image)[0], expected, atol=1e-3)
    image = pixels(5, 2, 3, 64, 64)
    for together, alone in zip(run(image), run(image[1:]), strict=True):
        np.testing.assert_allclose(together[1:], alone, atol=1e-4)


def test_the_moving_average_is_taken_where_there_is_one(tmp_path: Path) -> None:
    """A checkpoint of a training that was not ended has two models; YOLOv5 takes `ema`."""
    model, average = checkpoints.p6(Maker(1)), checkpoints.p6(Maker(2))
    path = checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(model) | {"ema": average})
    image = pixels(0, 1, 3, 64, 64)
    _, scores = opened(read_checkpoint(path).graph)(image)
    np.testing.assert_allclose(scores, reference.predict(average, image)[1], atol=1e-4)


def own(folder: Path) -> tuple[Path, Array, Array]:
    """A random P6 checkpoint, an image [1, H, W, 3], and its numbers by the plain reference."""
    built = checkpoints.p6(Maker(6))
    image = np.random.default_rng(6).integers(0, 256, (1, 64, 192, 3), np.uint8)
    expected = reference.prediction(built, image.transpose(0, 3, 1, 2) / 255)
    return checkpoints.write(folder / "m.pt", checkpoints.checkpoint(built)), image, expected


def original(path: Path) -> tuple[Path, Array, Array]:
    """The same of a checkpoint beside the repository, by the original implementation."""
    given = np.load(path.with_suffix(".npz"))
    return path, given["image"], given["prediction"]


@pytest.mark.parametrize("given", [None, *ORIGINALS], ids=lambda path: path.stem if path else "own")
def test_each_number_of_a_megadetector_s_layout(given: Path | None, tmp_path: Path) -> None:
    """A P6 checkpoint as MegaDetector's: boxes to 0.001 pixels, objectness and class scores to 0.0001."""
    path, image, wanted = original(given) if given else own(tmp_path)
    graph = read_checkpoint(path).graph
    parts = [node.input[:2] for node in graph.graph.node if node.op_type == "Mul" and node.name.endswith("/score")]
    for name in (name for pair in parts for name in pair):
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    boxes, scores, *levels = opened(graph)((image.transpose(0, 3, 1, 2) / 255).astype(np.float32))
    np.testing.assert_allclose(boxes, wanted[..., :4], atol=1e-3)
    flat = [level.reshape(1, -1, level.shape[-1]) for level in levels]
    np.testing.assert_allclose(np.concatenate(flat[::2], 1), wanted[..., 4:5], atol=1e-4)
    np.testing.assert_allclose(np.concatenate(flat[1::2], 1), wanted[..., 5:], atol=1e-4)
    np.testing.assert_allclose(scores, wanted[..., 4:5] * wanted[..., 5:], atol=1e-4)


def changed(**changes: Any) -> Obj:
    """The P6 model with some attributes of its first C3 layer set."""
    built = checkpoints.p6(Maker())
    built.modules["model"].modules["2"].plain |= changes
    return built


def test_a_module_that_is_not_known_is_named(tmp_path: Path) -> None:
    """One line says which module of the file cannot be read, by its class and, where YOLOv5 has it, its place."""
    for kind, said in (
        ("models.common.C3TR", r"names models\.common\.C3TR: .*ONNX"),
        ("torch.nn.modules.conv.ConvTranspose2d", r"names torch\.nn\.modules\.conv\.ConvTranspose2d: .*ONNX"),
        ("torch.nn.modules.linear.Linear", r"model\.2 is a torch\.nn\.modules\.linear\.Linear, .*ONNX"),
    ):
        built = checkpoints.p6(Maker())
        built.modules["model"].modules["2"].kind = kind
        with pytest.raises(CheckpointError, match=said):
            read_checkpoint(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built)))


@pytest.mark.parametrize("source", [99, -9, [], None, "0", [0, 1], [True], 2])
def test_layers_that_take_what_is_not_there(source: Any, tmp_path: Path) -> None:
    """A layer's sources are checked before they are followed."""
    path = checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(changed(f=source)))
    with pytest.raises(CheckpointError, match=r"model\.2 \(models\.common\.C3\) takes"):
        read_checkpoint(path)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    """NaN and infinity are found, and their place is named."""
    for bad in (np.nan, np.inf):
        built = checkpoints.p6(Maker())
        built.modules["model"].modules["3"].modules["bn"].numbers["running_mean"][2] = bad
        with pytest.raises(CheckpointError, match=r"model\.3\.bn\.running_mean .*NaN"):
            read_checkpoint(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built)))


def test_a_model_of_grey_images_is_refused(tmp_path: Path) -> None:
    """The first layer takes the three channels of a colour image, or the model is refused."""
    built = checkpoints.p6(Maker())
    built.modules["model"].modules["0"] = Maker().conv(1, 8, 6, 2, 2)
    built.modules["model"].modules["0"].plain["f"] = -1
    with pytest.raises(CheckpointError, match="takes 1 channels and is given 3: it is no detector for colour images"):
        read_checkpoint(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built)))


def test_a_classifier_is_told_as_one(tmp_path: Path) -> None:
    """YOLOv5's classifiers, and a model that ends as one."""
    built = checkpoints.p6(Maker())
    built.kind = "models.yolo.ClassificationModel"
    with pytest.raises(CheckpointError, match="classifier"):
        read_checkpoint(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built)))
    built = checkpoints.p6(Maker())
    built.modules["model"].modules["13"].kind = "models.common.Classify"
    with pytest.raises(CheckpointError, match="classifier"):
        read_checkpoint(checkpoints.write(tmp_path / "m.pt", checkpoints.checkpoint(built)))


def test_weights_without_their_model(tmp_path: Path) -> None:
    """A state dictionary says nothing of the layers; the message says what to do."""
    weights = {"conv.weight": Maker().numbers(4, 3, 3, 3)}
    for value in (weights, {"model": weights}, {"ema": {"module": weights}, "model": weights}):
        with pytest.raises(CheckpointError, match=r"without the model .*ONNX"):
            read_checkpoint(checkpoints.write(tmp_path / "m.pt", value))
    with pytest.raises(CheckpointError, match="no model in it"):
        read_checkpoint(checkpoints.write(tmp_path / "m.pt", {"epoch": 3}))
