"""How good detections are: average precision at an overlap of one half, and empty told from not empty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trapstream.scenes.canvas import Array

OVERLAP = 0.5


@dataclass(frozen=True)
class Accuracy:
    """`ap50` holds the average precision of each class; the balanced accuracy belongs to one threshold."""

    ap50: tuple[float, ...]
    balanced: float

    @property
    def map50(self) -> float:
        """The mean of the classes' average precisions."""
        return float(np.mean(self.ap50))


def overlaps(a: Array, b: Array) -> Array:
    """Intersection over union of boxes [n, 4] and [m, 4], given as corners: [n, m]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def average_precision(detections: Sequence[Array], truths: Sequence[Array], label: int) -> float:
    """Average precision (all points) of one class.

    Of each image: detections [n, 6] (corners, confidence, class), the most confident first; truths [m, 5] (class,
    corners).
    """
    marks: list[tuple[float, bool]] = []
    figures = 0
    for found, truth in zip(detections, truths, strict=True):
        boxes = truth[truth[:, 0] == label][:, 1:]
        figures += len(boxes)
        mine = found[found[:, 5] == label]
        taken = np.zeros(len(boxes), bool)
        table = overlaps(mine[:, :4], boxes)
        for row, confidence in zip(table, mine[:, 4], strict=True):
            free = np.where(taken, -1.0, row)
            best = int(free.argmax()) if len(boxes) else -1
            hit = best >= 0 and bool(free[best] >= OVERLAP)
            if hit:
                taken[best] = True
            marks.append((float(confidence), hit))
    marks.sort(key=lambda mark: -mark[0])
    hits = np.cumsum([hit for _, hit in marks])
    if not figures or not len(hits):
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    recall = np.concatenate([[0.0], hits / figures])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))


def balanced_accuracy(detections: Sequence[Array], truths: Sequence[Array], threshold: float) -> float:
    """The mean of two rates: full images called full, and empty images called empty."""
    full = np.asarray([len(truth) > 0 for truth in truths])
    called = np.asarray([bool(len(found) and found[:, 4].max() >= threshold) for found in detections])
    return float((called[full].mean() + (~called[~full]).mean()) / 2)


def accuracy(detections: Sequence[Array], truths: Sequence[Array], threshold: float, classes: int = 3) -> Accuracy:
    """Both measures."""
    ap50 = tuple(average_precision(detections, truths, label) for label in range(classes))
    return Accuracy(ap50, balanced_accuracy(detections, truths, threshold))


def best_threshold(detections: Sequence[Array], truths: Sequence[Array]) -> float:
    """The threshold, in steps of 0.01, that tells empty from not best; the middle one where several do."""
    steps = np.round(np.arange(0.05, 0.9, 0.01), 2)
    scores = np.asarray([balanced_accuracy(detections, truths, float(step)) for step in steps])
    # One image more or less is chance: take the middle of all thresholds that are nearly as good.
    good = steps[scores >= scores.max() - 0.003]
    return float(good[len(good) // 2])
