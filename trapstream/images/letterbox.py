"""The letterbox: where an image lies in the network's input, and the way back from there. Pure.

The numbers are those of MegaDetector's classic path (pytorch_detector.py): YOLOv5's `letterbox` and `scale_coords`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAD_GREY = 114
"""Of the padding, in each channel: YOLOv5's."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a source image lies in the network's input. All values are whole pixels, after the EXIF turn."""

    source_width: int
    source_height: int
    width: int
    """Of the resized image, without padding."""
    height: int
    padded_width: int
    padded_height: int
    left: int
    """Columns of padding before the image."""
    top: int
    stretched: bool = False
    """Each side has a scale of its own, and there is no padding."""


def letterbox(width: int, height: int, image_size: int, stride: int) -> Letterbox:
    """The minimum-rectangle letterbox of YOLOv5 (auto=True, scaleup=True) for a source of `width` x `height`.

    The longest side becomes `image_size`, also where that enlarges; the padding completes the next multiple of
    `stride`, half on each side. A side never shrinks below one pixel. ValueError for sizes that are not positive.
    """
    if min(width, height, image_size, stride) < 1:
        raise ValueError("sizes of a letterbox are positive")
    inner = _scaled(width, height, image_size, image_size)
    padded_width, padded_height = (side + (image_size - side) % stride for side in inner)
    return _centred(width, height, *inner, padded_width, padded_height)


def fixed_letterbox(width: int, height: int, fixed: tuple[int, int]) -> Letterbox:
    """The letterbox into exactly `fixed` (height, width): YOLOv5's with auto=False and scaleup=True.

    The image is as large as fits, and the padding is split as `letterbox` does. ValueError for sizes that are not
    positive.
    """
    if min(width, height, *fixed) < 1:
        raise ValueError("sizes of a letterbox are positive")
    return _centred(width, height, *_scaled(width, height, fixed[1], fixed[0]), fixed[1], fixed[0])


def stretched(width: int, height: int, fixed: tuple[int, int]) -> Letterbox:
    """The whole of `fixed` (height, width), without padding: RT-DETR's. ValueError for sizes that are not positive."""
    if min(width, height, *fixed) < 1:
        raise ValueError("sizes of a letterbox are positive")
    return Letterbox(width, height, fixed[1], fixed[0], fixed[1], fixed[0], left=0, top=0, stretched=True)


def _scaled(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """As large as fits, in the same proportion."""
    ratio = min(most_height / height, most_width / width)
    return max(round(width * ratio), 1), max(round(height * ratio), 1)


def _centred(
    source_width: int, source_height: int, width: int, height: int, padded_width: int, padded_height: int
) -> Letterbox:
    return Letterbox(
        source_width, source_height, width, height, padded_width, padded_height,
        left=round((padded_width - width) / 2 - 0.1), top=round((padded_height - height) / 2 - 0.1),
    )  # fmt: skip


def to_source(box: Letterbox, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """A model's answer [k, 6], which begins with corners in network pixels, with corners in whole source pixels.

    Where a value is no number, the rows come back as they are: whoever writes them down refuses them.
    """
    rows = np.asarray(rows, dtype=np.float32).reshape(-1, 6)
    if not len(rows) or not np.isfinite(rows).all():
        return rows  # most images are empty: a tenth of the event loop's time went into arithmetic on nothing
    return np.concatenate([source_corners(box, rows[:, :4]), rows[:, 4:]], axis=1)


def source_corners(box: Letterbox, corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners [k, 4] in network pixels as corners in whole source pixels, inside the source image.

    As `scale_coords` of YOLOv5 without `ratio_pad`: the padding there is not the rounded one of the letterbox. A
    stretched image has two scales and no padding.
    """
    scale_x, scale_y = box.padded_width / box.source_width, box.padded_height / box.source_height
    if not box.stretched:
        scale_x = scale_y = min(scale_x, scale_y)
    pad_x = (box.padded_width - box.source_width * scale_x) / 2
    pad_y = (box.padded_height - box.source_height * scale_y) / 2
    pad = np.array([pad_x, pad_y, pad_x, pad_y], dtype=np.float32)
    scale = np.array([scale_x, scale_y, scale_x, scale_y], dtype=np.float32)
    limit = np.array([box.source_width, box.source_height] * 2, dtype=np.float32)
    scaled = np.round(np.clip((corners - pad) / scale, 0, limit)).astype(np.float32)
    scaled[:, 2:] = np.maximum(scaled[:, 2:], scaled[:, :2])  # no box has a negative side
    return scaled
