"""The turn that EXIF's orientation asks for. Pure.

It is made after the resize, on the few pixels that the network sees, and by us: nvImageCodec's own turn, which works
on the full image, was seen to crash the process on files whose EXIF block and scan are both damaged.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trapstream.images.letterbox import Letterbox

_TRANSPOSED = frozenset({5, 6, 7, 8})
_FLIPPED_X = frozenset({2, 3, 6, 7})
_FLIPPED_Y = frozenset({3, 4, 7, 8})


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """`pixels` [h, w, 3], as stored, the way EXIF's `orientation` (1 to 8) wants them seen: PIL's exif_transpose."""
    if orientation in _TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in _FLIPPED_X:
        pixels = pixels[:, ::-1]
    if orientation in _FLIPPED_Y:
        pixels = pixels[::-1]
    return pixels if orientation == 1 else np.ascontiguousarray(pixels)


def turn_back(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The inverse of `turn`."""
    return turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))


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
