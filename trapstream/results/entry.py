"""An entry of the result file: encoded from an image's detections or its failure, and as it is read back. Pure.

Numbers are truncated, never rounded, to the digits of the file, as in MegaDetector's classic path
(pytorch_detector.py).
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from trapstream.core.errors import Permanent, Reason, failure_text
from trapstream.core.messages import ModelInfo, Outcome

CONFIDENCE_DIGITS = 3
BOX_DIGITS = 4


class Detection(msgspec.Struct, frozen=True, gc=False):
    """One detection. The order of its fields is that of the file; a field that another program left out is empty."""

    category: str = ""
    """The category's id."""
    conf: float = 0.0
    bbox: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """x_min, y_min, width, height, relative to the image."""


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One image of a file that is read."""

    file: str
    detections: list[Detection] | None = None
    failure: str | None = None

    @property
    def confidence(self) -> float:
        """Of the best detection; 0 without one."""
        return max((found.conf for found in self.detections or ()), default=0.0)


class _Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    file: str
    meta: str | None = None
    datetime: str | msgspec.UnsetType | None = msgspec.UNSET
    width: int
    height: int
    detections: list[Detection]


class _Failed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    file: str
    meta: str | None = None
    failure: str
    detections: None


_encoder = msgspec.json.Encoder()


def entry(
    file: str,
    meta: str | None,
    size: tuple[int, int],
    rows: NDArray[np.float32],
    threshold: float,
    model: ModelInfo,
    datetime: str | msgspec.UnsetType | None = msgspec.UNSET,
) -> tuple[Outcome, bytes]:
    """The image's outcome and its entry as JSON. `datetime` stands in it where it is set, also as null.

    `size` is the source image's width and height; `rows` is [k, 6]: x_min, y_min, x_max, y_max in its pixels,
    confidence from 0 to 1, class index. Detections below `threshold` after truncation are left out; the rest is sorted,
    the most confident first, and the order is total, so that the same numbers give the same bytes.
    Permanent(MODEL_REFUSED) where the model answered with something that is no number, or with a class that its card
    does not have: an entry that called such an image empty would hide an animal.
    """
    found = [one for one in _detections(size, rows, model) if one.conf >= threshold]
    found.sort(key=lambda one: (-one.conf, one.category, one.bbox))
    detected = any(one.conf >= model.typical_threshold for one in found)
    value = _Done(file=file, meta=meta, datetime=datetime, width=size[0], height=size[1], detections=found)
    return (Outcome.DETECTED if detected else Outcome.EMPTY), _encoder.encode(value)


def failure_entry(file: str, meta: str | None, reason: Reason, detail: str = "") -> bytes:
    """The entry of an image without an answer, as JSON: its bytes are the same, whichever service writes it."""
    return _encoder.encode(_Failed(file=file, meta=meta, failure=failure_text(reason, detail), detections=None))


def _detections(size: tuple[int, int], rows: NDArray[np.float32], model: ModelInfo) -> list[Detection]:
    rows = np.asarray(rows, dtype=np.float32).reshape(-1, 6)
    if not len(rows):
        return []  # most images: a tenth of the event loop's time went into arithmetic on nothing
    if not np.isfinite(rows).all():
        raise Permanent(Reason.MODEL_REFUSED, "the model's answer holds values that are not numbers")
    corners, whole = rows[:, :4], np.array(size, dtype=np.float32)
    # MegaDetector goes through float32 centres; the fourth decimal of the file depends on it.
    centres = (corners[:, :2] + corners[:, 2:]) / np.float32(2) / whole
    sizes = (corners[:, 2:] - corners[:, :2]) / whole
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


def truncate(value: float, digits: int) -> float:
    """`value` cut, not rounded, to `digits` decimals, the way MegaDetector cuts: downwards, on the float64 value."""
    power = 10.0**digits
    return math.floor(value * power) / power
