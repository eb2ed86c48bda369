"""What an exported detector wants to be given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from trapstream.models.onnx_file import ExportError

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
