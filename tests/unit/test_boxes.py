"""The rules of boxes and entries, by properties and by MegaDetector's own arithmetic."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consumer.boxes import Letterbox, entry, fixed_letterbox, letterbox, source_corners, stretched, truncate
from consumer.turn import before_turn, turn
from trapstream.core.errors import Permanent, Reason
from trapstream.core.failures import failure_entry
from trapstream.core.messages import ModelInfo, Outcome

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
sides = st.integers(1, 30_000)
networks = st.sampled_from([(640, 32), (960, 32), (1280, 64), (600, 64)])


def yolo_letterbox(width: int, height: int, image_size: int, stride: int) -> tuple[int, ...]:
    """YOLOv5's letterbox with auto=True: resized w, h, then top, bottom, left, right."""
    r = min(image_size / height, image_size / width)
    unpad = round(width * r), round(height * r)
    dw, dh = np.mod(image_size - unpad[0], stride) / 2, np.mod(image_size - unpad[1], stride) / 2
    sides_ = (round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1))
    return (*unpad, *(int(side) for side in sides_))


@given(width=sides, height=sides, network=networks)
def test_letterbox_is_yolov5s(width: int, height: int, network: tuple[int, int]) -> None:
    """Resized size and all four paddings equal YOLOv5's, for every source that YOLOv5 can resize at all."""
    box = letterbox(width, height, *network)
    w, h, top, bottom, left, right = yolo_letterbox(width, height, *network)
    if w and h:
        assert (box.width, box.height, box.top, box.left) == (w, h, top, left)
        assert (box.padded_width, box.padded_height) == (w + left + right, h + top + bottom)


@given(width=sides, height=sides, network=networks)
def test_letterbox_holds_the_image(width: int, height: int, network: tuple[int, int]) -> None:
    """The longest side is the network's size, no side is empty, and the image lies inside the padding."""
    box = letterbox(width, height, *network)
    assert max(box.width, box.height) == network[0]
    assert min(box.width, box.height) >= 1
    assert 0 <= box.left <= box.padded_width - box.width < network[1]
    assert 0 <= box.top <= box.padded_height - box.height < network[1]


@pytest.mark.parametrize(
    ("source", "network", "padded"),
    [
        ((2048, 1536), (1280, 64), (1280, 960)),
        ((1920, 1080), (1280, 64), (1280, 768)),
        ((2048, 1440), (640, 32), (640, 480)),
        ((1920, 1080), (640, 32), (640, 384)),
        ((1536, 2048), (1280, 64), (960, 1280)),
        ((20_000, 30), (1280, 64), (1280, 64)),
        ((1, 1), (640, 32), (640, 640)),
    ],
)
def test_network_shapes(source: tuple[int, int], network: tuple[int, int], padded: tuple[int, int]) -> None:
    """Sources of known cameras give MegaDetector's known network shapes; extreme ones give some."""
    box = letterbox(*source, *network)
    assert (box.padded_width, box.padded_height) == padded


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
    _, value = entry("a.jpg", None, box, rows, 0.0, MODEL)
    found = sorted((d["category"], d["conf"], d["bbox"]) for d in read(value)["detections"])
    assert found == sorted(megadetector(box, rows))


@given(answers(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_entry_is_legal_and_total(answer: tuple[Letterbox, NDArray[np.float32]], threshold: float, random: Any) -> None:
    """Sorted, above the threshold, inside the image, floats only, and the same bytes for any order of the rows."""
    box, rows = answer
    outcome, value = entry("a.jpg", None, box, rows, threshold, MODEL)
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
    assert entry("a.jpg", None, box, rows[order], threshold, MODEL) == (outcome, value)


fixed_sizes = st.tuples(st.integers(32, 1280), st.integers(32, 1280))


@given(width=sides, height=sides, fixed=fixed_sizes)
def test_a_fixed_letterbox_is_yolov5s(width: int, height: int, fixed: tuple[int, int]) -> None:
    """Resized size and padding equal YOLOv5's with auto=False; the image fits, and touches two borders."""
    box = fixed_letterbox(width, height, fixed)
    r = min(fixed[0] / height, fixed[1] / width)
    w, h = max(round(width * r), 1), max(round(height * r), 1)
    dw, dh = (fixed[1] - w) / 2, (fixed[0] - h) / 2
    assert (box.width, box.height, box.left, box.top) == (w, h, round(dw - 0.1), round(dh - 0.1))
    assert (box.padded_width - w - box.left, box.padded_height - h - box.top) == (round(dw + 0.1), round(dh + 0.1))
    assert (box.padded_height, box.padded_width) == fixed
    assert w == fixed[1] or h == fixed[0]
    assert 0 <= box.left <= fixed[1] - w
    assert 0 <= box.top <= fixed[0] - h


@given(width=sides, height=sides, fixed=fixed_sizes)
def test_a_stretched_image_fills_the_input(width: int, height: int, fixed: tuple[int, int]) -> None:
    """There is no padding, and each side has its own scale."""
    box = stretched(width, height, fixed)
    assert (box.height, box.width) == (box.padded_height, box.padded_width) == fixed
    assert (box.left, box.top) == (0, 0)
    whole = np.array([[0, 0, fixed[1], fixed[0]]], np.float32)
    assert source_corners(box, whole).tolist() == [[0, 0, width, height]]


def fitted(kind: str, width: int, height: int) -> Letterbox:
    if kind == "free":
        return letterbox(width, height, 1280, 64)
    return stretched(width, height, (640, 640)) if kind == "stretched" else fixed_letterbox(width, height, (736, 960))


@pytest.mark.parametrize("kind", ["free", "fixed", "stretched"])
@given(width=st.integers(16, 8000), height=st.integers(16, 8000), data=st.data())
def test_boxes_come_home(kind: str, width: int, height: int, data: st.DataObject) -> None:
    """A source box drawn in network pixels comes back to within the pixel that the network's grid allows."""
    box = fitted(kind, width, height)
    x = sorted(data.draw(st.tuples(*[st.integers(0, width)] * 2)))
    y = sorted(data.draw(st.tuples(*[st.integers(0, height)] * 2)))
    scale_x, scale_y = box.width / width, box.height / height
    drawn = [[x[0] * scale_x + box.left, y[0] * scale_y + box.top, x[1] * scale_x + box.left, y[1] * scale_y + box.top]]
    found = source_corners(box, np.array(drawn, dtype=np.float32))[0]
    allowed = 1.5 / min(scale_x, scale_y) + 1
    assert np.abs(found - np.array([x[0], y[0], x[1], y[1]])).max() <= allowed


@pytest.mark.parametrize("kind", ["free", "fixed", "stretched"])
@given(width=st.integers(16, 4000), height=st.integers(16, 4000), orientation=st.integers(1, 8))
def test_the_turn_keeps_the_fit(kind: str, width: int, height: int, orientation: int) -> None:
    """The letterbox before the turn, turned, has the image and its padding where the one after it has them."""
    box = fitted(kind, width, height)
    stored = before_turn(box, orientation)
    assert stored.stretched == box.stretched
    inside = np.zeros((stored.padded_height, stored.padded_width, 1), np.uint8)
    inside[stored.top : stored.top + stored.height, stored.left : stored.left + stored.width] = 1
    expected = np.zeros((box.padded_height, box.padded_width, 1), np.uint8)
    expected[box.top : box.top + box.height, box.left : box.left + box.width] = 1
    assert np.array_equal(turn(inside, orientation), expected)


def test_confidence_one_is_a_float() -> None:
    """A confidence of one is written 1.0: MegaDetector's validator refuses the integer 1."""
    box = letterbox(640, 480, 640, 32)
    outcome, value = entry("é.jpg", '{"k": 1}', box, np.array([[0, 0, 640, 480, 1, 0]], np.float32), 0.005, MODEL)
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
    outcome, value = entry("a", None, box, rows, 0.005, MODEL)
    assert outcome is Outcome.EMPTY
    assert [d["conf"] for d in read(value)["detections"]] == [0.005]
    assert truncate(0.9999, 3) == 0.999


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_number_is_no_empty_image(bad: float) -> None:
    """A model that answers with NaN fails the image instead of calling it empty."""
    box = letterbox(640, 480, 640, 32)
    with pytest.raises(Permanent) as caught:
        entry("a", None, box, np.array([[0, 0, 9, 9, bad, 0]], np.float32), 0.005, MODEL)
    assert caught.value.reason is Reason.MODEL_REFUSED


def test_unknown_class_fails() -> None:
    """A class outside the model's card would make the file illegal: the image fails by name."""
    box = letterbox(640, 480, 640, 32)
    with pytest.raises(Permanent, match="no class 4"):
        entry("a", None, box, np.array([[0, 0, 9, 9, 0.5, 3]], np.float32), 0.005, MODEL)


def test_failure_entry() -> None:
    """A failed image has its reason, null detections, and its meta, in that order."""
    value = failure_entry("a.jpg", "m", Reason.EMPTY_FILE)
    assert value == b'{"file":"a.jpg","meta":"m","failure":"image access failure: empty file","detections":null}'
