"""What a detector's outputs mean, found out from their shapes and from the numbers that came out of one run. Pure.

The layouts, with where they are defined:

- YOLOv5 (models/yolo.py, Detect): a row for each cell and anchor, cx, cy, w, h in pixels, objectness, classes;
- YOLOv8, 9, 11 (ultralytics/nn/modules/head.py, Detect): the same transposed and without objectness, one anchor a cell;
- end-to-end heads and exports with nms=True (the same file, and engine/exporter.py): x1, y1, x2, y2, score, class;
- RT-DETR (the same file, RTDETRDecoder): a row a query, cx, cy, w, h from 0 to 1, then classes, or score and class;
- RT-DETRv2's own (rtdetrv2_pytorch/tools/export_onnx.py): labels, boxes and scores beside each other;
- MultimediaTechLab's YOLO (yolo/utils/deploy_utils.py): logits, distributions and distances for each of three scales.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
GRIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Strides of the scales of heads that are known."""
_MOST_QUERIES = 1000
_SLACK = 1e-3


class Kind(Enum):
    """A layout; the value is the family that people know it by."""

    YOLOV5 = "yolov5"
    YOLOV8 = "yolov8"
    YOLOV8_ROWS = "yolov8 "
    END_TO_END = "end-to-end"
    RTDETR = "rtdetr"
    RTDETR_ROWS = "rtdetr "
    RTDETRV2 = "rtdetrv2"
    MIT = "yolo-mit"

    @property
    def family(self) -> str:
        """What `--family` calls it."""
        return self.value.strip()


FAMILIES = tuple(dict.fromkeys(kind.family for kind in Kind))
_OF_ROWS = frozenset({Kind.END_TO_END, Kind.RTDETR_ROWS, Kind.RTDETRV2})
"""Layouts whose rows name their class: how many there are cannot be seen."""
_OF_QUERIES = frozenset({Kind.END_TO_END.family, Kind.RTDETR.family})


class UnknownLayoutError(Exception):
    """The outputs are none of the layouts, or more than one. The text says why, and what decides."""


@dataclass(frozen=True)
class Layout:
    """How to read a detector's outputs."""

    kind: Kind
    outputs: tuple[str, ...]
    """Their names, in the order in which the kind's decoding takes them."""
    classes: int
    stride: int | None
    """The largest stride of its grids; None for what has none."""


def recognise(
    outputs: Mapping[str, Array], size: tuple[int, int], names: Sequence[str] | None, family: str | None
) -> Layout:
    """The layout of `outputs`, which came from one image of noise of `size` (height, width).

    `names` are those of the classes and `family` is one of FAMILIES, where they are known. UnknownLayoutError
    otherwise.
    """
    for name, value in outputs.items():
        if value.dtype.kind == "f" and np.isnan(value.astype(np.float32)).any():
            raise UnknownLayoutError(f"the model answers with numbers that are none ({name}) for an image of noise")
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
    if {"labels", "boxes", "scores"} <= set(outputs):
        candidates = [Layout(Kind.RTDETRV2, ("labels", "boxes", "scores"), _count(names), None)]
    elif _is_mit(list(outputs.values())):
        # The first nine are the main head's; the distributions were summed up in the distances already.
        used = tuple(name for index, name in enumerate(outputs) if index < 9 and index % 3 != 1)
        candidates = [Layout(Kind.MIT, used, outputs[used[0]].shape[1], size[0] // outputs[used[-1]].shape[2])]
    else:
        candidates = _single(outputs, size, names, family, shapes)
    if family is not None:
        candidates = [each for each in candidates if each.kind.family == family]
    faults = {each: _fault(each, outputs, names) for each in candidates}
    fitting = [each for each, fault in faults.items() if fault is None]
    if len(fitting) > 1:
        both = " and as ".join(f"{each.kind.family} with {each.classes} classes" for each in fitting)
        raise UnknownLayoutError(f"its output {shapes} can be read as {both}: --names or --family decides")
    if not fitting:
        why = dict.fromkeys(f"as {each.kind.family} {fault}" for each, fault in faults.items())
        raise UnknownLayoutError(
            f"its output {shapes} cannot be read: " + ("; ".join(why) or f"known are {', '.join(FAMILIES)}")
        )
    (layout,) = fitting
    if layout.classes == 0:
        raise UnknownLayoutError(
            f"{layout.kind.family}: how many classes it has is not in the file: --names tells them, in the model's "
            "order, such as --names animal,person,vehicle"
        )
    return layout


def _single(
    outputs: Mapping[str, Array], size: tuple[int, int], names: Sequence[str] | None, family: str | None, shapes: str
) -> list[Layout]:
    """Candidates for detectors with one output of interest, [N, rows, values] or transposed."""
    flat = [name for name, value in outputs.items() if value.ndim == 3]
    rest = [value for name, value in outputs.items() if name not in flat]
    if not flat and len(rest) == 1 and rest[0].ndim == 2 and rest[0].shape[1] != 7:
        raise UnknownLayoutError(f"it is a classifier, not a detector: its output is {shapes}")
    if len(flat) == 1 and any(value.ndim == 4 for value in rest):
        raise UnknownLayoutError(f"it gives masks or more beside boxes ({shapes}): export a model that only detects")
    # Older exports of YOLOv5 give the undecoded scales, [N, 3, h, w, 5 + C], after the decoded rows.
    if len(flat) != 1 or any(value.ndim != 5 for value in rest):
        raise UnknownLayoutError(
            f"its outputs {shapes} are none that are known; export the model without suppression (NMS) or other steps "
            "of its own behind it"
        )
    _, x, y = outputs[flat[0]].shape
    found: list[tuple[Kind, int, int | None]] = []
    for strides in GRIDS:
        cells = sum((size[0] // stride) * (size[1] // stride) for stride in strides)
        if y == cells:
            found.append((Kind.YOLOV8, x - 4, strides[-1]))
        if x == cells:
            found.append((Kind.YOLOV8_ROWS, y - 4, strides[-1]))
        if x in {cells, 3 * cells}:
            found.append((Kind.YOLOV5, y - 5, strides[-1]))
    if not found and family == Kind.YOLOV5.family:
        found = [(Kind.YOLOV5, y - 5, None)]
    if not found and family == Kind.YOLOV8.family:
        found = [(Kind.YOLOV8, x - 4, None)] if x < y else [(Kind.YOLOV8_ROWS, y - 4, None)]
    if x <= _MOST_QUERIES and (not found or family in _OF_QUERIES):
        found.append((Kind.RTDETR, y - 4, None))
        if y == 6:
            found += [(Kind.END_TO_END, _count(names), None), (Kind.RTDETR_ROWS, _count(names), None)]
    return [
        Layout(kind, (flat[0],), classes, stride) for kind, classes, stride in found if classes > 0 or kind in _OF_ROWS
    ]


def _count(names: Sequence[str] | None) -> int:
    return 0 if names is None else len(names)


def _is_mit(values: list[Array]) -> bool:
    """Triples of logits [N, C, h, w], distributions [N, bins, 4, h, w] and distances [N, 4, h, w], in scales."""
    if len(values) not in {9, 18}:
        return False
    triples = [values[i : i + 3] for i in range(0, len(values), 3)]
    heights = [logits.shape[2:3] for logits, _, _ in triples[:3]]
    if not heights[2] or heights != [(heights[2][0] * times,) for times in (4, 2, 1)]:
        return False
    return all(
        (logits.ndim, bins.ndim, box.ndim) == (4, 5, 4)
        and box.shape[1] == bins.shape[2] == 4
        and logits.shape[2:] == bins.shape[3:] == box.shape[2:]
        for logits, bins, box in triples
    )


def _fault(layout: Layout, outputs: Mapping[str, Array], names: Sequence[str] | None) -> str | None:
    """Why the numbers cannot be of this layout; None where they can."""
    if names is not None and layout.classes != len(names):
        return f"it would have {layout.classes} classes, and there are {len(names)} names"
    rule = _RULES.get(layout.kind)
    return None if rule is None else rule(outputs[layout.outputs[0]].astype(np.float32), _count(names))


def _between_0_and_1(values: NDArray[np.float32]) -> bool:
    return bool(values.min(initial=0) >= -_SLACK and values.max(initial=0) <= 1 + _SLACK)


def _grid_fault(scores: NDArray[np.float32], boxes: NDArray[np.float32]) -> str | None:
    if not _between_0_and_1(scores):
        return f"its scores go from {scores.min():.3g} to {scores.max():.3g}, where 0 to 1 is needed"
    if boxes.max() <= 2:
        return "its boxes are not in pixels"
    return None


def _query_fault(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> str | None:
    if not _between_0_and_1(boxes) or not boxes.any():
        return f"its boxes go from {boxes.min():.3g} to {boxes.max():.3g}, where shares of the image are needed"
    return None if _between_0_and_1(scores) else "its scores are not between 0 and 1"


def _row_fault(rows: NDArray[np.float32], classes: int) -> str | None:
    """Of rows that end in score and class."""
    labels = rows[..., 5]
    if (labels != np.round(labels)).any() or labels.min() < 0:
        return "its last column is no class"
    if not _between_0_and_1(rows[..., 4]):
        return "its scores are not between 0 and 1"
    return _label_fault(labels, classes)


def _end_to_end_fault(rows: NDArray[np.float32], classes: int) -> str | None:
    boxes = rows[..., :4]
    # Nothing but zeros: the export's own suppression found nothing in the noise.
    if boxes.any() and _between_0_and_1(boxes):
        return "its boxes are not in pixels"
    return _row_fault(rows, classes)


def _label_fault(labels: NDArray[np.float32], classes: int) -> str | None:
    if classes and labels.max(initial=0) >= classes:
        return f"it names class {int(labels.max())} (the first is 0), and there are {classes} names"
    return None


_RULES: dict[Kind, Callable[[NDArray[np.float32], int], str | None]] = {
    Kind.YOLOV5: lambda rows, _: _grid_fault(rows[..., 4:], rows[..., :4]),
    Kind.YOLOV8: lambda columns, _: _grid_fault(columns[:, 4:], columns[:, :4]),
    Kind.YOLOV8_ROWS: lambda rows, _: _grid_fault(rows[..., 4:], rows[..., :4]),
    Kind.END_TO_END: _end_to_end_fault,
    Kind.RTDETR: lambda rows, _: (
        _query_fault(rows[..., :4], rows[..., 4:])
        or ("its last column is a class" if rows.shape[2] == 6 and _row_fault(rows, 0) is None else None)
    ),
    Kind.RTDETRV2: _label_fault,
    Kind.RTDETR_ROWS: lambda rows, classes: _query_fault(rows[..., :4], rows[..., 4:5]) or _row_fault(rows, classes),
}
