"""The letterbox and the way back from it, by properties and by YOLOv5's own arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.images.letterbox import Letterbox, fixed_letterbox, letterbox, source_corners, stretched
from trapstream.images.turn import before_turn, turn

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
    inside = np.zeros((stored.padded_height, stored.padded_width, 3), np.uint8)
    inside[stored.top : stored.top + stored.height, stored.left : stored.left + stored.width] = 1
    expected = np.zeros((box.padded_height, box.padded_width, 3), np.uint8)
    expected[box.top : box.top + box.height, box.left : box.left + box.width] = 1
    assert np.array_equal(turn(inside, orientation), expected)
