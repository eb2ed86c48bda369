"""What every reader of a model makes of it: a graph with boxes and scores, and what the file told about itself."""

from __future__ import annotations

from dataclasses import dataclass

import onnx


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """A detector without what comes before and after it. A field that the file does not tell is None.

    `graph` takes one float32 input [N, 3, H, W], RGB in 0 to 1. It gives `boxes` float32 [N, A, 4] as (cx, cy, w, h) in
    pixels of its input, and `scores` float32 [N, A, C] in 0 to 1. opset.py says which opsets it may have.
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
