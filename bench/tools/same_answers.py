"""Whether two result files say the same of the same images, by the rule of `model check`. Reads both as a whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trapstream.core import json_codec
from trapstream.models.agreement import BOX, FLOOR, Given, Rows, compare

_DIGIT = 0.001 + 1e-6
"""Both files cut confidences to three decimals: numbers that hardly differ can be a whole digit apart."""
_SIDE = round(1 / BOX) + 1
"""Boxes are whole pixels of the photograph. In a smaller one a pixel is more than the tolerance; one is allowed."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the second file differs from the first."""

    images: int
    identical: int
    """Images whose answers are the same to the last digit."""
    compared: int
    """Detections of the first file above FLOOR, and of the second."""
    found: int
    box: float
    """Largest difference of a box, as a share of the image's side, or of 1,001 pixels in a smaller one."""
    confidence: float
    faults: tuple[str, ...]
    """Every fault of every image: the differences that are out of tolerance, in words."""

    @property
    def sentence(self) -> str:
        """For people."""
        text = (
            f"{self.identical} of {self.images} images have the same answer to the last digit; {self.found} detections "
            f"above {FLOOR} beside {self.compared}; largest difference of a box {self.box:.4f}, of a confidence "
            f"{self.confidence:.3f}"
        )
        return f"{text}; {len(self.faults)} out of tolerance, such as {self.faults[0]}" if self.faults else text


def compare_files(first: Path, second: Path, tolerance: float) -> Agreement:
    """Holds `second`, which is Trapstream's own (it has the size of each image), against `first`.

    Detections above FLOOR are the same ones, each side of a box within 0.001 of the image or one of its pixels,
    confidences within `tolerance`. ValueError where one file lacks an image of the other.
    """
    theirs, ours = _images(first), _images(second)
    if theirs.keys() != ours.keys():
        lone = sorted(theirs.keys() ^ ours.keys())
        raise ValueError(f"{len(lone)} images stand in only one of {first} and {second}, such as {lone[0]}")
    identical = compared = found = 0
    box = confidence = 0.0
    faults: list[str] = []
    for name, one in theirs.items():
        other = ours[name]
        if one["detections"] is None or other["detections"] is None:
            same = one["detections"] is other["detections"]
            identical += same
            faults += [] if same else [f"{name}: only one of them could be read"]
            continue
        size = other["width"], other["height"]
        wanted, frame = _rows(one["detections"], size), (max(size[0], _SIDE), max(size[1], _SIDE))
        original = Given(candidates=wanted, kept=wanted, frame=frame, suppressed=False)
        difference = compare(original, _rows(other["detections"], size), tolerance + _DIGIT)
        identical += sorted(map(_key, one["detections"])) == sorted(map(_key, other["detections"]))
        compared, found = compared + difference.expected, found + difference.compared
        box, confidence = max(box, difference.box), max(confidence, difference.confidence)
        faults += [f"{name}: {fault}" for fault in difference.faults]
    return Agreement(
        images=len(theirs), identical=identical, compared=compared, found=found, box=box, confidence=confidence,
        faults=tuple(faults),
    )  # fmt: skip


def _images(path: Path) -> dict[str, dict[str, Any]]:
    return {image["file"]: image for image in json_codec.decode(path.read_bytes())["images"]}


def _key(detection: dict[str, Any]) -> tuple[Any, ...]:
    return detection["category"], detection["conf"], *detection["bbox"]


def _rows(detections: list[dict[str, Any]], size: tuple[int, int]) -> Rows:
    """Corners in whole pixels of the photograph: the file's four decimals of a share tell them again."""
    rows = [
        [x * size[0], y * size[1], (x + width) * size[0], (y + height) * size[1], one["conf"], int(one["category"]) - 1]
        for one in detections
        for x, y, width, height in [one["bbox"]]
    ]
    found = np.asarray(rows, np.float64).reshape(-1, 6)
    found[:, :4] = found[:, :4].round()
    ordered: Rows = found[np.lexsort((found[:, 0], -found[:, 4]))].astype(np.float32)
    return ordered
