"""What every reader of a model makes of it: a graph with boxes and scores, in an opset that can be completed."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

OLDEST_READ = 11
OLDEST, NEWEST = 17, 23
"""What a raw graph has. The nodes around it mean the same in all of them."""


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """A detector without what comes before and after it. A field that the file does not tell is None.

    `graph` takes one float32 input [N, 3, H, W], RGB in 0 to 1. It gives `boxes` float32 [N, A, 4] as (cx, cy, w, h) in
    pixels of its input, and `scores` float32 [N, A, C] in 0 to 1. Its opset is one from OLDEST to NEWEST, or
    `brought_to_opset` can make it so.
    """

    graph: onnx.ModelProto
    family: str
    """Whose layout it was, such as yolov5 or rtdetr."""
    classes: tuple[str, ...] | None
    """The model's own names, by class index."""
    image_size: int | None
    """Longest side of the network's input, in pixels."""
    stride: int | None
    """Both sides of the network's input are multiples of this."""
    fixed: tuple[int, int] | None = None
    """(height, width) of the only input that the graph takes; None where both are free."""
    stretch: bool = False
    """The image is stretched to `fixed`, not letterboxed."""
    suppress: bool = True
    """Overlapping boxes are still to be suppressed (NMS); False for end-to-end detectors."""
    notes: tuple[str, ...] = ()
    """What its user should know, a sentence each."""


class OpsetError(ValueError):
    """An opset that cannot be read. One line that says what to do."""


def opset_of(model: onnx.ModelProto) -> int | None:
    """The version of ONNX's own operators in the model; None where it tells none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)


def brought_to_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset from OLDEST to NEWEST; itself where it is in one. OpsetError where that cannot be."""
    version = opset_of(model)
    if version is None:
        raise OpsetError("the graph tells no opset")
    if not OLDEST_READ <= version <= NEWEST:
        raise OpsetError(
            f"opset {version} cannot be read, {OLDEST_READ} to {NEWEST} can: export the model with opset {OLDEST}"
        )
    if version >= OLDEST:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise OpsetError(
            f"opset {version} cannot be brought to {OLDEST} ({reason}): export the model with opset {OLDEST}"
        ) from error
