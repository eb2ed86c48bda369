"""The check of a bundle against its original: what is right passes, each thing that can be wrong is found."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

import model_repository.demonstration
from tests.unit import bundles
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import read_card
from trapstream.models.check import Picture, Report, check_bundle
from trapstream.models.complete import Rule, complete
from trapstream.models.original import NoOriginal
from trapstream.models.pictures import drawn, in_folder
from trapstream.models.raw import RawModel


@pytest.fixture(scope="module")
def raw() -> RawModel:
    return bundles.random_model()


@pytest.fixture(scope="module")
def bundle(raw: RawModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundles.write(tmp_path_factory.mktemp("bundle"), raw)


@pytest.fixture(scope="module")
def scenes(bundle: Bundle) -> list[Picture]:
    return list(drawn(bundle.card, 2))


def checked(bundle: Bundle, scenes: list[Picture]) -> Report:
    return check_bundle(bundle.folder, bundle.card.precision, scenes)


def served_instead(folder: Path, bundle: Bundle, graph: onnx.ModelProto) -> Bundle:
    """The same original, with another graph that pretends to be its completion."""
    folder.mkdir(exist_ok=True)
    (folder / "raw.onnx").write_bytes((bundle.folder / "raw.onnx").read_bytes())
    onnx.save(graph, str(folder / "model.onnx"))
    return Bundle(folder, bundle.card)


def test_a_right_bundle_passes(bundle: Bundle, scenes: list[Picture]) -> None:
    """A completed random YOLOv5 gives its original's answers, above 0.1 and in numbers."""
    report = checked(bundle, scenes)
    assert report.rows[0].agrees
    assert (report.floor, report.compared > 20) == (0.1, True)
    assert report.rows[0].worst("box")[0] < 1e-6


def test_the_demonstration_model_passes() -> None:
    """It has no file to be held against but the network inside it."""
    folder = Path(model_repository.demonstration.__path__[0])
    card = read_card(folder / "card.json")
    report = check_bundle(folder, card.precision, drawn(card, 6))
    assert report.rows[0].agrees
    assert report.compared >= 4


def test_half_precision_passes(raw: RawModel, scenes: list[Picture], tmp_path: Path) -> None:
    """The FP16 form differs a little, within its tolerances."""
    report = checked(bundles.write(tmp_path, raw, precision="float16"), scenes)
    assert report.rows[0].agrees, report.rows[0].offending
    assert report.rows[0].worst("confidence")[0] > 0
    assert report.rows[0].shown


def test_a_lower_precision_wants_detections(raw: RawModel, scenes: list[Picture], tmp_path: Path) -> None:
    """Where next to nothing is above 0.1 the surest are compared, and that is enough for float32 only."""
    unsure = replace(raw, graph=bundles.surer(raw.graph, 0.09))
    for precision, shown in (("float32", True), ("float16", False)):
        report = checked(bundles.write(tmp_path / precision, unsure, precision=precision), scenes)
        assert (report.rows[0].agrees, report.rows[0].sure, report.rows[0].shown) == (True, 0, shown)
        assert report.compared > 5


def test_merged_classes_pass(raw: RawModel, scenes: list[Picture], tmp_path: Path) -> None:
    """A class map is followed; the same graph with another map is not."""
    merged = bundles.write(tmp_path / "merged", raw, members=((2,), (0, 1)))
    assert checked(merged, scenes).rows[0].agrees
    other = complete(raw, None, ((0,), (1, 2)))
    assert not checked(served_instead(tmp_path / "other", merged, other), scenes).rows[0].agrees


@pytest.mark.parametrize(
    "rule",
    [Rule(iou=0.6), Rule(iou=0.3), Rule(threshold=0.2), Rule(most=10)],
    ids=["more", "less", "threshold", "most"],
)
def test_a_wrong_suppression_is_found(
    raw: RawModel, bundle: Bundle, scenes: list[Picture], tmp_path: Path, rule: Rule
) -> None:
    report = checked(served_instead(tmp_path, bundle, complete(raw, rule)), scenes)
    assert not report.rows[0].agrees
    assert report.rows[0].offending


@pytest.mark.parametrize("times", [1.0, 0.09], ids=["above 0.1", "all below 0.1"])
def test_a_changed_weight_is_found(raw: RawModel, scenes: list[Picture], tmp_path: Path, times: float) -> None:
    """Also where nothing is above 0.1: the surest are compared, and the report says so."""
    raw = replace(raw, graph=bundles.surer(raw.graph, times))
    right = bundles.write(tmp_path / "right", raw)
    report = checked(right, scenes)
    assert report.rows[0].agrees
    assert report.compared > 5
    assert report.floor == (0.1 if times == 1.0 else 0.0)
    changed = onnx.ModelProto()
    changed.CopyFrom(raw.graph)
    kernel = next(tensor for tensor in changed.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(kernel).copy()
    values[0, 0] *= 1.5
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    wrong = served_instead(tmp_path / "wrong", right, complete(replace(raw, graph=changed)))
    assert not checked(wrong, scenes).rows[0].agrees


def test_a_bundle_without_an_original_is_told(tmp_path: Path) -> None:
    """No raw.onnx and no network inside: there is nothing to hold it against."""
    from tests import stacks

    with pytest.raises(NoOriginal, match="import the model again"):
        check_bundle(stacks.write_bundle(tmp_path), "float32", [])


def test_images_come_from_a_folder_in_order(bundle: Bundle, tmp_path: Path) -> None:
    """Files of any depth are letterboxed; what is no image is named."""
    from PIL import Image

    (tmp_path / "b").mkdir()
    Image.new("RGB", (64, 48), "green").save(tmp_path / "b" / "2.png")
    Image.new("RGB", (40, 80), "green").save(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    skipped: list[str] = []
    found = list(in_folder(bundle.card, tmp_path, skipped))
    assert [(each.name, each.pixels.shape, each.frame) for each in found] == [
        ("a.jpg", (320, 160, 3), (160, 320)), ("b/2.png", (256, 320, 3), (320, 240)),
    ]  # fmt: skip
    assert skipped == ["notes.txt"]
