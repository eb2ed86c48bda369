"""What an ONNX export tells about itself: the metadata that Ultralytics and YOLOv5 write beside the graph.

Both write Python's own notation of each value (Ultralytics' engine/exporter.py, YOLOv5's export.py): `names` is
"{0: 'animal', 1: 'person'}" or "['animal', 'person']", `imgsz` is "[640, 640]". It is read as literals, never run, and
what cannot be read counts as not told.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

_LONGEST = 1_000_000
"""Characters of a value that is looked at. Ten thousand names of a hundred letters fit."""


@dataclass(frozen=True)
class Told:
    """What the metadata tell; None for what they do not."""

    names: tuple[str, ...] | None = None
    stride: int | None = None
    size: tuple[int, int] | None = None
    """(height, width)"""
    task: str | None = None
    """Ultralytics' word for what the model does, such as detect, segment or classify."""
    suppressed_from: float | None = None
    """The confidence below which the export's own suppression (nms=True) has dropped boxes."""


def read_metadata(model: onnx.ModelProto) -> Told:
    """What the model's metadata tell."""
    found = {entry.key: entry.value for entry in model.metadata_props}
    size, arguments = _literal(found.get("imgsz")), _literal(found.get("args"))
    sides = [_size(side) for side in (size if isinstance(size, list | tuple) else (size, size))]
    return Told(
        names=_names(_literal(found.get("names"))),
        stride=_size(_literal(found.get("stride"))),
        size=(sides[0], sides[1]) if len(sides) == 2 and sides[0] and sides[1] else None,
        task=found.get("task"),
        suppressed_from=_confidence(arguments),
    )


def _literal(text: str | None) -> object:
    """The value that `text` stands for, or None."""
    if text is None or len(text) > _LONGEST:
        return None
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value


def _names(value: object) -> tuple[str, ...] | None:
    if isinstance(value, Mapping):
        if set(value) != set(range(len(value))):
            return None
        value = [value[index] for index in range(len(value))]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        return None
    return tuple(value)


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _confidence(arguments: object) -> float | None:
    if not isinstance(arguments, Mapping) or arguments.get("nms") is not True:
        return None
    found = arguments.get("conf")
    return float(found) if isinstance(found, int | float) else 0.25  # Ultralytics' own where none was given
