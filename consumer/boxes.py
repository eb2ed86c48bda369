"""Geometry of an image and its entry in the result file. Pure: no I/O, no clock.

The numbers are those of MegaDetector's classic path (pytorch_detector.py): YOLOv5's `letterbox` and `scale_coords`,
boxes in float32 rounded to whole source pixels, then truncated, never rounded, to the digits of the file.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from trapstream.core.errors import Permanent, Reason
from trapstream.core.messages import ModelInfo, Outcome

CONFIDENCE_DIGITS = 3
BOX_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a source image lies in the network's input. All values are whole pixels, after the EXIF turn."""

    source_width: int
    source_height: int
    width: int
    """Of the resized image, without padding."""
    height: int
    padded_width: int
    padded_height: int
    left: int
    """Columns of padding before the image."""
    top: int
    stretched: bool = False
    """Each side has a scale of its own, and there is no padding."""


def letterbox(width: int, height: int, image_size: int, stride: int) -> Letterbox:
    """The minimum-rectangle letterbox of YOLOv5 (auto=True, scaleup=True) for a source of `width` x `height`.

    The longest side becomes `image_size`, also where that enlarges; the padding completes the next multiple of
    `stride`, half on each side. A side never shrinks below one pixel. ValueError for sizes that are not positive.
    """
    if min(width, height, image_size, stride) < 1:
        raise ValueError("sizes of a letterbox are positive")
    ratio = min(image_size / height, image_size / width)
    resized_width, resized_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    pad_x, pad_y = (image_size - resized_width) % stride, (image_size - resized_height) % stride
    return Letterbox(
        source_width=width,
        source_height=height,
        width=resized_width,
        height=resized_height,
        padded_width=resized_width + pad_x,
        padded_height=resized_height + pad_y,
        left=round(pad_x / 2 - 0.1),
        top=round(pad_y / 2 - 0.1),
    )


def fixed_letterbox(width: int, height: int, fixed: tuple[int, int]) -> Letterbox:
    """The letterbox into exactly `fixed` (height, width): YOLOv5's with auto=False and scaleup=True.

    The image is as large as fits, and the padding is split as `letterbox` does. ValueError for sizes that are not
    positive.
    """
    if min(width, height, *fixed) < 1:
        raise ValueError("sizes of a letterbox are positive")
    ratio = min(fixed[0] / height, fixed[1] / width)
    resized_width, resized_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    return Letterbox(
        source_width=width,
        source_height=height,
        width=resized_width,
        height=resized_height,
        padded_width=fixed[1],
        padded_height=fixed[0],
        left=round((fixed[1] - resized_width) / 2 - 0.1),
        top=round((fixed[0] - resized_height) / 2 - 0.1),
    )


def stretched(width: int, height: int, fixed: tuple[int, int]) -> Letterbox:
    """The whole of `fixed` (height, width), without padding: RT-DETR's. ValueError for sizes that are not positive."""
    if min(width, height, *fixed) < 1:
        raise ValueError("sizes of a letterbox are positive")
    return Letterbox(
        source_width=width,
        source_height=height,
        width=fixed[1],
        height=fixed[0],
        padded_width=fixed[1],
        padded_height=fixed[0],
        left=0,
        top=0,
        stretched=True,
    )


class Detection(msgspec.Struct, frozen=True):
    """One detection of an entry: the category's id, the confidence, and x_min, y_min, width, height from 0 to 1."""

    category: str
    conf: float
    bbox: tuple[float, float, float, float]


class _Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    file: str
    meta: str | None = None
    datetime: str | msgspec.UnsetType | None = msgspec.UNSET
    width: int
    height: int
    detections: list[Detection]


_encoder = msgspec.json.Encoder()


def entry(
    file: str,
    meta: str | None,
    box: Letterbox,
    detections: NDArray[np.float32],
    threshold: float,
    model: ModelInfo,
    datetime: str | msgspec.UnsetType | None = msgspec.UNSET,
) -> tuple[Outcome, bytes]:
    """The image's outcome and its entry as JSON. `datetime` stands in it where it is set, also as null.

    `detections` is [k, 6]: x_min, y_min, x_max, y_max in network pixels, confidence from 0 to 1, class index.
    Detections below `threshold` after truncation are left out; the rest is sorted, the most confident first, and
    the order is total, so that the same numbers give the same bytes. Permanent(MODEL_REFUSED) where the model
    answered with something that is no number, or with a class that its card does not have: an entry that called
    such an image empty would hide an animal.
    """
    found = [one for one in _detections(box, detections, model) if one.conf >= threshold]
    found.sort(key=lambda one: (-one.conf, one.category, one.bbox))
    detected = any(one.conf >= model.typical_threshold for one in found)
    value = _Done(
        file=file, meta=meta, datetime=datetime, width=box.source_width, height=box.source_height, detections=found
    )
    return (Outcome.DETECTED if detected else Outcome.EMPTY), _encoder.encode(value)


def _detections(box: Letterbox, rows: NDArray[np.float32], model: ModelInfo) -> list[Detection]:
    rows = np.asarray(rows, dtype=np.float32).reshape(-1, 6)
    if not len(rows):
        return []  # most images: a tenth of the event loop's time went into arithmetic on nothing
    if not np.isfinite(rows).all():
        raise Permanent(Reason.MODEL_REFUSED, "the model's answer holds values that are not numbers")
    corners = source_corners(box, rows[:, :4])
    # MegaDetector goes through float32 centres; the fourth decimal of the file depends on it.
    size = np.array([box.source_width, box.source_height], dtype=np.float32)
    centres = (corners[:, :2] + corners[:, 2:]) / np.float32(2) / size
    sizes = (corners[:, 2:] - corners[:, :2]) / size
    confidences, indices = rows[:, 4].tolist(), rows[:, 5].tolist()
    found = []
    for (x, y), (width, height), confidence, index in zip(
        centres.tolist(), sizes.tolist(), confidences, indices, strict=True
    ):
        category = str(int(index) + 1)
        if category not in model.classes:
            raise Permanent(Reason.MODEL_REFUSED, f"the model's card has no class {category}")
        bbox = (
            truncate(x - width / 2, BOX_DIGITS),
            truncate(y - height / 2, BOX_DIGITS),
            truncate(width, BOX_DIGITS),
            truncate(height, BOX_DIGITS),
        )
        found.append(Detection(category, truncate(confidence, CONFIDENCE_DIGITS), bbox))
    return found


def source_corners(box: Letterbox, corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners [k, 4] in network pixels as corners in whole source pixels, inside the source image.

    As `scale_coords` of YOLOv5 without `ratio_pad`: the padding there is not the rounded one of the letterbox. A
    stretched image has two scales and no padding.
    """
    scale_x, scale_y = box.padded_width / box.source_width, box.padded_height / box.source_height
    if not box.stretched:
        scale_x = scale_y = min(scale_x, scale_y)
    pad_x = (box.padded_width - box.source_width * scale_x) / 2
    pad_y = (box.padded_height - box.source_height * scale_y) / 2
    pad = np.array([pad_x, pad_y, pad_x, pad_y], dtype=np.float32)
    scale = np.array([scale_x, scale_y, scale_x, scale_y], dtype=np.float32)
    limit = np.array([box.source_width, box.source_height] * 2, dtype=np.float32)
    scaled = np.round(np.clip((corners - pad) / scale, 0, limit)).astype(np.float32)
    scaled[:, 2:] = np.maximum(scaled[:, 2:], scaled[:, :2])  # no box has a negative side
    return scaled


def truncate(value: float, digits: int) -> float:
    """`value` cut, not rounded, to `digits` decimals, the way MegaDetector cuts: downwards, on the float64 value."""
    power = 10.0**digits
    return math.floor(value * power) / power
