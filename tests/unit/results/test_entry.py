"""Entries of the result file, by properties and by MegaDetector's own arithmetic."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trapstream.core.errors import Permanent, Reason
from trapstream.core.messages import ModelInfo, Outcome
from trapstream.images.letterbox import Letterbox, letterbox, to_source
from trapstream.results.entry import entry, failure_entry, truncate

MODEL = ModelInfo(
    name="demo",
    version="1",
    sha256="0",
    image_size=640,
    stride=32,
    classes={"1": "animal", "2": "person", "3": "vehicle"},
    typical_threshold=0.2,
    conservative_threshold=0.05,
)


def encoded(
    file: str, meta: str | None, box: Letterbox, rows: NDArray[np.float32], threshold: float, model: ModelInfo
) -> tuple[Outcome, bytes]:
    """An answer in network pixels, on its whole way into the file."""
    return entry(file, meta, (box.source_width, box.source_height), to_source(box, rows), threshold, model)


def megadetector(box: Letterbox, rows: NDArray[np.float32]) -> list[tuple[str, float, list[float]]]:
    """MegaDetector's classic post-processing, written down again from its description: float32, centre form."""
    det = rows.copy()
    gain = min(box.padded_height / box.source_height, box.padded_width / box.source_width)
    pad = (box.padded_width - box.source_width * gain) / 2, (box.padded_height - box.source_height * gain) / 2
    det[:, [0, 2]] -= np.float32(pad[0])
    det[:, [1, 3]] -= np.float32(pad[1])
    det[:, :4] /= np.float32(gain)
    det[:, [0, 2]] = det[:, [0, 2]].clip(0, box.source_width)
    det[:, [1, 3]] = det[:, [1, 3]].clip(0, box.source_height)
    det[:, :4] = det[:, :4].round()
    found = []
    for x0, y0, x1, y1, conf, index in det:
        w, h = np.float32(box.source_width), np.float32(box.source_height)
        xc, yc = float((x0 + x1) / np.float32(2) / w), float((y0 + y1) / np.float32(2) / h)
        bw, bh = float((x1 - x0) / w), float((y1 - y0) / h)
        api = [math.floor(v * 10**4) / 10**4 for v in (xc - bw / 2, yc - bh / 2, bw, bh)]
        found.append((str(int(index) + 1), math.floor(float(conf) * 10**3) / 10**3, api))
    return found


@st.composite
def answers(draw: st.DrawFn) -> tuple[Letterbox, NDArray[np.float32]]:
    """A letterbox, and what a model could find in it, beyond the borders as well."""
    box = letterbox(
        draw(st.integers(16, 8000)), draw(st.integers(16, 8000)), *draw(st.sampled_from([(640, 32), (1280, 64)]))
    )
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        x = sorted(draw(st.tuples(*[st.floats(-9, box.padded_width + 9, width=32)] * 2)))
        y = sorted(draw(st.tuples(*[st.floats(-9, box.padded_height + 9, width=32)] * 2)))
        conf = draw(st.floats(0, 1, width=32))
        rows.append([x[0], y[0], x[1], y[1], conf, draw(st.integers(0, 2))])
    return box, np.array(rows, dtype=np.float32).reshape(-1, 6)


def read(value: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(value)
    return parsed


@given(answers())
def test_entry_has_megadetectors_numbers(answer: tuple[Letterbox, NDArray[np.float32]]) -> None:
    """Boxes and confidences equal MegaDetector's arithmetic to the last digit."""
    box, rows = answer
    _, value = encoded("a.jpg", None, box, rows, 0.0, MODEL)
    found = sorted((d["category"], d["conf"], d["bbox"]) for d in read(value)["detections"])
    assert found == sorted(megadetector(box, rows))


@given(answers(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_entry_is_legal_and_total(answer: tuple[Letterbox, NDArray[np.float32]], threshold: float, random: Any) -> None:
    """Sorted, above the threshold, inside the image, floats only, and the same bytes for any order of the rows."""
    box, rows = answer
    outcome, value = encoded("a.jpg", None, box, rows, threshold, MODEL)
    parsed = read(value)
    assert list(parsed) == ["file", "width", "height", "detections"]
    confs = [d["conf"] for d in parsed["detections"]]
    assert confs == sorted(confs, reverse=True)
    assert all(type(conf) is float and conf >= threshold for conf in confs)
    for found in parsed["detections"]:
        x, y, w, h = found["bbox"]
        assert all(type(v) is float for v in (x, y, w, h))
        assert min(x, y, w, h) >= 0
        assert max(x + w, y + h) <= 1.0001
    assert (outcome is Outcome.DETECTED) == any(conf >= MODEL.typical_threshold for conf in confs)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert encoded("a.jpg", None, box, rows[order], threshold, MODEL) == (outcome, value)


def test_confidence_one_is_a_float() -> None:
    """A confidence of one is written 1.0: MegaDetector's validator refuses the integer 1."""
    box = letterbox(640, 480, 640, 32)
    outcome, value = encoded("é.jpg", '{"k": 1}', box, np.array([[0, 0, 640, 480, 1, 0]], np.float32), 0.005, MODEL)
    assert outcome is Outcome.DETECTED
    assert (
        value
        == (
            '{"file":"é.jpg","meta":"{\\"k\\": 1}","width":640,"height":480,'
            '"detections":[{"category":"1","conf":1.0,"bbox":[0.0,0.0,1.0,1.0]}]}'
        ).encode()
    )


def test_threshold_counts_after_truncation() -> None:
    """0.00599 is cut to 0.005 and stays; 0.00499 is cut to 0.004 and goes."""
    box = letterbox(640, 480, 640, 32)
    rows = np.array([[0, 0, 9, 9, 0.00599, 0], [0, 0, 9, 9, 0.00499, 0]], np.float32)
    outcome, value = encoded("a", None, box, rows, 0.005, MODEL)
    assert outcome is Outcome.EMPTY
    assert [d["conf"] for d in read(value)["detections"]] == [0.005]
    assert truncate(0.9999, 3) == 0.999


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_number_is_no_empty_image(bad: float) -> None:
    """A model that answers with NaN fails the image instead of calling it empty."""
    box = letterbox(640, 480, 640, 32)
    with pytest.raises(Permanent) as caught:
        encoded("a", None, box, np.array([[0, 0, 9, 9, bad, 0]], np.float32), 0.005, MODEL)
    assert caught.value.reason is Reason.MODEL_REFUSED


def test_unknown_class_fails() -> None:
    """A class outside the model's card would make the file illegal: the image fails by name."""
    box = letterbox(640, 480, 640, 32)
    with pytest.raises(Permanent, match="no class 4"):
        encoded("a", None, box, np.array([[0, 0, 9, 9, 0.5, 3]], np.float32), 0.005, MODEL)


def test_failure_entry() -> None:
    """A failed image has its reason, null detections, and its meta, in that order."""
    value = failure_entry("a.jpg", "m", Reason.EMPTY_FILE)
    assert value == b'{"file":"a.jpg","meta":"m","failure":"image access failure: empty file","detections":null}'
