"""Whether two sets of detections of one image are the same answer. Pure.

Numbers that differ in the last digits can flip a choice: which of two equally sure cells stands for an animal, or
whether 0.1 is reached. So a detection has to be one that the original could have given, had its numbers been off by no
more than the tolerances. docs/operators/models.md says it in words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""[k, 6]: x_min, y_min, x_max, y_max in pixels of the network's input, confidence, class index; the surest first."""

FLOOR = 0.1
"""Detections above this confidence are compared."""
ENOUGH = 10
"""Fewer detections above FLOOR, in all images together, show little: then TOP of each image are compared too."""
TOP = 20
"""So many of the surest of each image."""
LOWEST = 0.00625
"""Of those too, none below this: the threshold of 0.005, and the largest tolerance there."""
BOX = 0.001
"""Largest difference of a box's side from the original's, as a share of the image's width or height."""
CONFIDENCE = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.02}
"""Largest difference of a confidence, by the precision that a model is computed in."""
IOU = 0.45
"""Two detections of a class do not overlap by more."""
_ROUNDING = 1e-3
"""Of an overlap that two programs compute from the same float32 corners."""
_SAME = 0.5
"""Detections that overlap by so much are of the same thing."""


@dataclass(frozen=True)
class Given:
    """What the original says of an image."""

    candidates: Rows
    """All above the threshold, before suppression."""
    kept: Rows
    """What suppression leaves; all candidates where there is none."""
    frame: tuple[int, int]
    """Width and height of the image inside the network's input: what boxes are shares of."""
    suppressed: bool = True
    """Whether overlapping boxes are suppressed at all."""
    most: int = 300
    """An answer has no more detections than this."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How the answer for one image differs from the original's."""

    compared: int
    """Detections above the floor in the answer."""
    expected: int
    """Detections above the floor in the original."""
    box: float = 0.0
    """The largest difference of a box, as a share of the image's side."""
    confidence: float = 0.0
    """The largest difference of a confidence."""
    ties: int = 0
    """Detections of one side that the other has not, for a reason that lies within the tolerances."""
    faults: tuple[str, ...] = ()
    """What is out of tolerance, in words."""


def floor_for(given: Given, found: Rows) -> float:
    """The confidence from which the TOP surest detections of an image are compared, where few are above FLOOR."""
    confidences = [LOWEST, *(rows[min(TOP, len(rows)) - 1, 4] for rows in (given.kept, found) if len(rows) > TOP)]
    return float(max(confidences))


def compare(given: Given, found: Rows, tolerance: float, floor: float = FLOOR) -> Difference:
    """How `found` differs from what the original gave, above `floor`.

    `tolerance` is that of confidences; below FLOOR it shrinks with them, since there it would allow everything.
    """
    if not np.isfinite(found).all():
        return Difference(compared=0, expected=0, faults=("it answers with values that are not numbers",))
    compared, expected = (int((rows[:, 4] > floor).sum()) for rows in (found, given.kept))
    if len(found) >= given.most:
        floor = max(floor, float(found[-1, 4]))  # what is less sure than the last one had to go
    judge = _Judge(given, found, tolerance, floor)
    faults = [fault for row in found if row[4] > floor and (fault := judge.detection(row))]
    faults += [fault for number in range(len(given.kept)) if (fault := judge.absence(number))]
    if given.suppressed:
        faults += _overlaps(found[found[:, 4] > floor])
    return Difference(
        compared=compared,
        expected=expected,
        box=judge.box,
        confidence=judge.confidence,
        ties=judge.ties,
        faults=tuple(faults),
    )


class _Judge:
    """Goes through the detections of one image, and keeps the largest differences."""

    def __init__(self, given: Given, found: Rows, tolerance: float, floor: float) -> None:
        self._given, self._found, self._floor = given, found, floor
        self._tolerance = tolerance
        self._seen: set[int] = set()
        """Detections of the original, by number, that the answer has."""
        self.box = self.confidence = 0.0
        self.ties = 0

    def detection(self, row: Rows) -> str:
        """What is wrong with a detection of the answer; empty where nothing is."""
        partner = self._partner(row)
        if partner is not None and self._within(self._given.kept[partner], row):
            self._seen.add(partner)
            self._record(self._given.kept[partner], row)
            return ""
        same = self._given.candidates[self._given.candidates[:, 5] == row[5]]
        near = same[self._box_differences(same, row) <= BOX]
        near = near[np.abs(near[:, 4] - row[4]) <= self._allowed(near[:, 4])]
        if len(near):
            self._record(near[np.abs(near[:, 4] - row[4]).argmin()], row)
            self.ties += 1
            return ""
        if partner is None:
            return f"{_words(row)} is not in the original"
        self._seen.add(partner)
        mate = self._given.kept[partner]
        box, confidence = self._record(mate, row)
        return f"{_words(mate)} of the original differs by {box:.4f} in its box, {confidence:.4f} in its confidence"

    def absence(self, number: int) -> str:
        """What is wrong where the answer lacks this detection of the original; empty where it has or may lack it."""
        row = self._given.kept[number]
        allowed = float(self._allowed(row[4]))
        if number in self._seen or row[4] <= self._floor + allowed:
            return ""
        if self._given.suppressed:
            rivals = self._found[(self._found[:, 5] == row[5]) & (self._found[:, 4] >= row[4] - allowed)]
            if len(rivals) and overlaps(row, rivals).max() > IOU - self._overlap_slack(row):
                self.ties += 1
                return ""
        return f"{_words(row)} of the original is missing"

    def _partner(self, row: Rows) -> int | None:
        """The detection of the original that is of the same thing, and that no surer one has taken."""
        numbers = [n for n in np.flatnonzero(self._given.kept[:, 5] == row[5]) if n not in self._seen]
        if not numbers:
            return None
        shared = overlaps(row, self._given.kept[numbers])
        return int(numbers[shared.argmax()]) if shared.max() >= _SAME else None

    def _within(self, original: Rows, row: Rows) -> bool:
        near = abs(float(original[4] - row[4])) <= self._allowed(original[4])
        return bool(near and self._box_differences(original[None], row)[0] <= BOX)

    def _record(self, original: Rows, row: Rows) -> tuple[float, float]:
        box, confidence = float(self._box_differences(original[None], row)[0]), abs(float(original[4] - row[4]))
        self.box, self.confidence = max(self.box, box), max(self.confidence, confidence)
        return box, confidence

    def _box_differences(self, rows: Rows, row: Rows) -> Rows:
        sides = np.asarray([*self._given.frame, *self._given.frame], np.float32)
        differences: Rows = (np.abs(rows[:, :4] - row[:4]) / sides).max(axis=1, initial=0)
        return differences

    def _allowed(self, confidence: Rows) -> Rows:
        allowed: Rows = self._tolerance * np.minimum(1, confidence / np.float32(FLOOR))
        return allowed

    def _overlap_slack(self, row: Rows) -> float:
        """How far an overlap with this box can move while each of its sides moves by BOX.

        By the share of its area that the four sides sweep; that share can leave the intersection and join the union.
        """
        width, height = self._given.frame
        across, down = (
            BOX * whole / max(side, 1) for whole, side in zip((width, height), row[2:4] - row[:2], strict=True)
        )
        swept = float(2 * (across + down) + 8 * across * down)
        return 1.0 if swept >= 1 else swept * (1 + IOU) / (1 - swept)


def suppress(candidates: Rows, most: int) -> Rows:
    """Greedy suppression by class: of candidates, the surest first, those that no kept one overlaps too much."""
    kept: list[Rows] = []
    left = candidates
    while len(left) and len(kept) < most:
        first, left = left[0], left[1:]
        kept.append(first)
        left = left[(left[:, 5] != first[5]) | (overlaps(first, left) <= IOU)]
    return np.asarray(kept, np.float32).reshape(-1, 6)


def overlaps(row: Rows, rows: Rows) -> Rows:
    """Intersection over union of one box with each of `rows`; zero where both are empty."""
    low, high = np.maximum(row[:2], rows[:, :2]), np.minimum(row[2:4], rows[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(rows[:, 2:4] - rows[:, :2], 0, None).prod(axis=1)
    whole = areas + np.clip(row[2:4] - row[:2], 0, None).prod() - shared
    ratio: Rows = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return ratio


def _overlaps(rows: Rows) -> list[str]:
    """Pairs that suppression should have parted."""
    faults = []
    for number, row in enumerate(rows):
        others = rows[number + 1 :]
        others = others[others[:, 5] == row[5]]
        if len(others) and (worst := float(overlaps(row, others).max())) > IOU + _ROUNDING:
            faults.append(f"{_words(row)} overlaps another of its class by {worst:.2f}, more than {IOU}")
    return faults


def _words(row: Rows) -> str:
    return f"a detection of class {int(row[5]) + 1} with confidence {row[4]:.3f}"
