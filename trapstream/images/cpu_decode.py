"""The decoder's two steps without a GPU: DALI decodes, cv2 resizes and pads.

For 1280 x 960 pixels out, DALI's resize on a CPU takes 20 ms, cv2's INTER_LINEAR 1.5 ms: the whole stage is nearly
six times as fast. It is also the function that MegaDetector calls: the pixels are MegaDetector's, bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from trapstream.images.letterbox import Letterbox

PAD_GREY = 114
Pixels = NDArray[np.uint8]

cv2.setNumThreads(1)  # of the process: the settings say how many threads decode, and cv2 would take every core


class CpuDecode:
    """Request and response, as dali_decode.LetterboxPipeline. Not thread-safe."""

    def __init__(self, batch: int, threads: int) -> None:
        self._pipeline: Any = _decode(batch_size=batch, num_threads=threads, device_id=None, prefetch_queue_depth=1)
        self._pipeline.build()

    def run(self, images: Sequence[Pixels], boxes: Sequence[Letterbox]) -> list[tuple[Pixels, bool]]:
        """Letterboxed RGB pixels of each encoded image, and whether its decoded size was the expected one."""
        (out,) = self._pipeline.run(image=list(images))
        return [_fit(np.asarray(out[i]), box) for i, box in enumerate(boxes)]


class CpuLetterbox:
    """The same of decoded images."""

    def run(self, images: Sequence[Pixels], boxes: Sequence[Letterbox]) -> list[tuple[Pixels, bool]]:
        """Letterboxed RGB pixels of each image [h, w, 3], and whether its size was the expected one."""
        return [_fit(pixels, box) for pixels, box in zip(images, boxes, strict=True)]


def _fit(pixels: Pixels, box: Letterbox) -> tuple[Pixels, bool]:
    """RuntimeError where cv2 refuses."""
    expected = pixels.shape[:2] == (box.source_height, box.source_width)
    try:
        if pixels.shape[:2] != (box.height, box.width):
            pixels = _as_bytes(cv2.resize(pixels, (box.width, box.height), interpolation=cv2.INTER_LINEAR))
        bottom, right = box.padded_height - box.height - box.top, box.padded_width - box.width - box.left
        if bottom or right or box.top or box.left:
            grey = (PAD_GREY, PAD_GREY, PAD_GREY)
            border = cv2.BORDER_CONSTANT
            pixels = _as_bytes(cv2.copyMakeBorder(pixels, box.top, bottom, box.left, right, border, value=grey))
    except cv2.error as error:
        raise RuntimeError(str(error)) from error
    return pixels, expected


def _as_bytes(pixels: Any) -> Pixels:
    return np.asarray(pixels, dtype=np.uint8)


@pipeline_def  # type: ignore[untyped-decorator]
def _decode() -> Any:
    encoded = fn.external_source(name="image", dtype=types.UINT8, ndim=1)
    # Turning is ours: see turn.py.
    return fn.decoders.image(encoded, device="cpu", output_type=types.RGB, adjust_orientation=False)
