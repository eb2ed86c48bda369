"""What an ONNX export says of itself: the input that it takes, and the metadata beside its graph.

YOLOv5 (export.py) and Ultralytics (engine/exporter.py) write Python's own notation of each value: `names` is
"{0: 'animal', 1: 'person'}" or "['animal', 'person']", `imgsz` is "[640, 640]". It is read as literals, never run, and
what cannot be read counts as absent.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from trapstream.models.onnx_file import ExportError

_LONGEST = 1_000_000
"""Characters of a value that is looked at. Ten thousand names of a hundred letters fit."""
_LARGEST_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """The input that takes the images, and what comes with it."""

    name: str
    element: int
    """ONNX's number of its type: float32 or float16."""
    batch: int | None
    """Images at a time; None for any number."""
    fixed: tuple[int, int] | None
    """(height, width); None where both are free."""
    sizes: str | None = None
    """Name of a second input, [N, 2], that takes each image's width and height."""
    sizes_element: int = TensorProto.INT64

    @property
    def type(self) -> np.dtype[np.generic]:
        """Of the images."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.element))

    @property
    def sizes_type(self) -> np.dtype[np.generic]:
        """Of the sizes."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.sizes_element))


def image_input(model: onnx.ModelProto) -> ImageInput:
    """The model's input. ExportError for one that takes no photographs, or more than them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    images = [value for value in inputs if len(_dimensions(value)) == 4]
    sizes = [value for value in inputs if len(_dimensions(value)) == 2 and _dimensions(value)[1] == 2]
    if len(images) != 1 or len(images) + len(sizes) != len(inputs) or len(sizes) > 1:
        shown = ", ".join(f"{value.name} {_shown(value)}" for value in inputs[:5])
        raise ExportError(f"it takes {shown or 'nothing'}; a detector takes images [N, 3, height, width]")
    (image,) = images
    element = image.type.tensor_type.elem_type
    batch, channels, height, width = _dimensions(image)
    if channels != 3 and width == 3:
        raise ExportError(f"it takes images as {_shown(image)}; [N, 3, height, width] is needed: export from PyTorch")
    if isinstance(channels, int) and channels != 3:
        raise ExportError(f"it takes images of {channels} channel{'s' * (channels != 1)}; photographs have 3")
    if element not in {TensorProto.FLOAT, TensorProto.FLOAT16}:
        raise ExportError(
            f"it takes {TensorProto.DataType.Name(element).lower()}; float32 or float16 from 0 to 1 is needed: export "
            "it without steps of its own before it"
        )
    if isinstance(height, int) != isinstance(width, int):
        raise ExportError(f"only one side of its images {_shown(image)} is fixed: export it with both, or none")
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    if fixed is not None and not 1 <= min(fixed) <= max(fixed) <= _LARGEST_SIDE:
        raise ExportError(f"it takes images of {width} x {height} pixels; a side has 1 to {_LARGEST_SIDE}")
    return ImageInput(
        name=image.name,
        element=element,
        batch=batch if isinstance(batch, int) else None,
        fixed=fixed,
        sizes=sizes[0].name if sizes else None,
        sizes_element=sizes[0].type.tensor_type.elem_type if sizes else TensorProto.INT64,
    )


@dataclass(frozen=True)
class Metadata:
    """What the metadata tell; None for what they do not."""

    names: tuple[str, ...] | None = None
    stride: int | None = None
    size: tuple[int, int] | None = None
    """(height, width)"""
    task: str | None = None
    """Ultralytics' word for what the model does, such as detect, segment or classify."""
    suppressed_from: float | None = None
    """The confidence below which the export's own suppression (nms=True) has dropped boxes."""


def read_metadata(model: onnx.ModelProto) -> Metadata:
    """What the model's metadata tell."""
    found = {entry.key: entry.value for entry in model.metadata_props}
    size, arguments = _literal(found.get("imgsz")), _literal(found.get("args"))
    sides = [_size(side) for side in (size if isinstance(size, list | tuple) else (size, size))]
    return Metadata(
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


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    """As written; a free one is its name, or a question mark."""
    return [
        dimension.dim_value
        if dimension.HasField("dim_value") and dimension.dim_value > 0
        else dimension.dim_param or "?"
        for dimension in value.type.tensor_type.shape.dim
    ]


def _shown(value: onnx.ValueInfoProto) -> str:
    return f"[{', '.join(map(str, _dimensions(value)))}]"
