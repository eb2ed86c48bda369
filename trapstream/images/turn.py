"""The turn that EXIF's orientation asks for. Pure.

It is made before the resize, as MegaDetector makes it: a resize rounds differently from the other side. Only a GPU
resizes first, so that it need not turn the full image. The turn is ours in both cases: nvImageCodec's own was seen to
crash the process on files whose EXIF block and scan are both damaged.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trapstream.images.letterbox import Letterbox

_TRANSPOSED = frozenset({5, 6, 7, 8})
_FLIPPED_X = frozenset({2, 3, 6, 7})
_FLIPPED_Y = frozenset({3, 4, 7, 8})
_TURNS: dict[int, Callable[[NDArray[np.uint8]], Any]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """`pixels` [h, w, 3], as stored, the way EXIF's `orientation` (1 to 8) wants them seen: PIL's exif_transpose."""
    step = _TURNS.get(orientation)
    return pixels if step is None else np.asarray(step(pixels), dtype=np.uint8)


def before_turn(box: Letterbox, orientation: int) -> Letterbox:
    """The letterbox of the image as stored which, turned together with its padding, becomes `box`."""
    if orientation in _FLIPPED_X:
        box = dataclasses.replace(box, left=box.padded_width - box.width - box.left)
    if orientation in _FLIPPED_Y:
        box = dataclasses.replace(box, top=box.padded_height - box.height - box.top)
    if orientation not in _TRANSPOSED:
        return box
    return Letterbox(
        source_width=box.source_height,
        source_height=box.source_width,
        width=box.height,
        height=box.width,
        padded_width=box.padded_height,
        padded_height=box.padded_width,
        left=box.top,
        top=box.left,
        stretched=box.stretched,
    )
