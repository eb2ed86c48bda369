"""The model that is shipped, on scenes that neither its training nor its card has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

import model_repository.demonstration
from training.evaluate import detect, open_model, photograph
from training.measure import Accuracy, accuracy, average_precision, balanced_accuracy
from trapstream.models.card import Card, read_card

FOLDER = Path(model_repository.demonstration.__file__).parent
SEEDS = range(4_000_000, 4_000_150)
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(FOLDER / "card.json")


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    return open_model(FOLDER / "model.onnx")


@pytest.fixture(scope="module")
def photographs() -> list[tuple[Array, Array]]:
    return [photograph(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def measured(card: Card, session: ort.InferenceSession, photographs: list[tuple[Array, Array]]) -> Accuracy:
    found = [detect(session, image) for image, _ in photographs]
    return accuracy(found, [truth for _, truth in photographs], card.typical_detection_threshold)


def test_the_bundle_is_small_and_whole(card: Card) -> None:
    assert (FOLDER / "model.onnx").stat().st_size <= 8_000_000
    assert card.name == "demonstration"
    assert card.classes == {"1": "animal", "2": "person", "3": "vehicle"}
    assert "not for science" in card.warning


def test_it_finds_what_is_there(measured: Accuracy) -> None:
    assert measured.map50 >= 0.85, measured


def test_it_tells_empty_from_not_empty(measured: Accuracy) -> None:
    assert measured.balanced >= 0.95, measured


def test_the_card_tells_what_is_measured(card: Card, measured: Accuracy) -> None:
    assert measured.map50 == pytest.approx(card.measured["map50"], abs=0.06)
    assert measured.balanced == pytest.approx(card.measured["empty_balanced_accuracy"], abs=0.04)


def test_scenes_of_the_tests_are_in_no_other_set(card: Card) -> None:
    for first, last in card.seeds.values():
        assert SEEDS.stop <= first or last < SEEDS.start


def test_company_does_not_change_an_answer(
    session: ort.InferenceSession, photographs: list[tuple[Array, Array]]
) -> None:
    """The result file must have the same bytes after a crash, whatever batches its images arrived in."""
    images = np.stack([image for image, _ in photographs[:8]])
    together, counts = session.run(["detections", "count"], {"images": images})
    for index in range(8):
        alone, count = session.run(["detections", "count"], {"images": images[index : index + 1]})
        assert count[0] == counts[index]
        assert alone.tobytes() == together[index : index + 1].tobytes()


@pytest.mark.parametrize("shape", [(384, 640), (640, 480), (32, 32), (640, 640)])
def test_any_multiple_of_the_stride_will_do(session: ort.InferenceSession, shape: tuple[int, int]) -> None:
    detections, count = session.run(["detections", "count"], {"images": np.zeros((2, *shape, 3), np.uint8)})
    assert detections.shape == (2, 300, 6)
    assert count.shape == (2,)


def test_average_precision_by_hand() -> None:
    truth = np.asarray([[0, 0, 0, 10, 10], [0, 20, 20, 30, 30]], np.float32)
    right = [0, 0, 10, 10, 0.9, 0]
    wrong = [50, 50, 60, 60, 0.8, 0]
    late = [20, 20, 30, 31, 0.7, 0]
    double = [0, 0, 10, 11, 0.6, 0]
    found = np.asarray([right, wrong, late, double], np.float32)
    assert average_precision([found], [truth], 0) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision([found[:1]], [truth], 0) == pytest.approx(0.5)
    assert average_precision([found[:0]], [truth], 0) == 0


def test_balanced_accuracy_by_hand() -> None:
    full, empty = np.zeros((1, 5), np.float32), np.zeros((0, 5), np.float32)
    sure, unsure = np.asarray([[0, 0, 1, 1, 0.9, 0]]), np.asarray([[0, 0, 1, 1, 0.1, 0]])
    assert balanced_accuracy([sure, unsure, unsure], [full, full, empty], 0.5) == pytest.approx(0.75)
