"""From encoded bytes, or decoded pixels, to upright letterboxed pixels: by DALI on a GPU, by DALI and cv2 on a CPU.

For 1280 x 960 pixels out, DALI's resize on a CPU takes 20 ms, cv2's INTER_LINEAR 1.5 ms: the whole stage is nearly six
times as fast. It is also the function that MegaDetector calls: the pixels are MegaDetector's, bit for bit. DALI's
resize on a GPU (linear, no antialias) is the same to one grey level; it comes before the EXIF turn there, after it on a
CPU. With device="cpu" the GPU's graph runs where there is no GPU, for the tests.
"""

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from trapstream.images.letterbox import PAD_GREY, Letterbox
from trapstream.images.turn import before_turn, turn

Pixels = NDArray[np.uint8]

cv2.setNumThreads(1)  # of the process: the settings say how many threads decode, and cv2 would take every core


class LetterboxPipeline:
    """Request and response: `run` decodes one batch. Not thread-safe. It stays usable after a RuntimeError."""

    def __init__(self, source: Literal["encoded", "pixels"], batch: int, threads: int, device: str) -> None:
        gpu = device == "mixed"
        graph = _from_encoded if source == "encoded" else _from_pixels
        # prefetch_queue_depth 1: a deeper queue answers a request with the batch before it.
        self._pipeline: Any = graph(
            device,
            batch_size=batch,
            num_threads=threads,
            device_id=0 if gpu else None,
            prefetch_queue_depth=1,
        )
        self._gpu = gpu
        self._pipeline.build()

    def run(
        self, images: Sequence[Pixels], boxes: Sequence[Letterbox], orientations: Sequence[int]
    ) -> list[tuple[Pixels, bool]]:
        """Letterboxed RGB pixels [H, W, 3] of each image, and whether its decoded size was the expected one.

        `orientations`: EXIF's, 1 to 8; `boxes` are those after the turn. RuntimeError where DALI refuses any of the
        images. The arrays stay valid.
        """
        stored = [before_turn(box, orientation) for box, orientation in zip(boxes, orientations, strict=True)]
        out, shapes = self._pipeline.run(
            image=list(images),
            resized=[np.array([box.height, box.width], dtype=np.float32) for box in stored],
            start=[np.array([-box.top, -box.left], dtype=np.int32) for box in stored],
            padded=[np.array([box.padded_height, box.padded_width], dtype=np.int32) for box in stored],
        )
        if self._gpu:
            out = out.as_cpu()
        # Views, not copies: each holds its tensor, which DALI does not use again while it is held.
        return [
            (turn(np.asarray(out[i]), orientation), tuple(shapes.at(i)[:2].tolist()) == _size(box))
            for i, (box, orientation) in enumerate(zip(stored, orientations, strict=True))
        ]


class CpuDecode:
    """Request and response, as LetterboxPipeline. Not thread-safe."""

    def __init__(self, batch: int, threads: int) -> None:
        self._pipeline: Any = _decoded(batch_size=batch, num_threads=threads, device_id=None, prefetch_queue_depth=1)
        self._pipeline.build()

    def run(
        self, images: Sequence[Pixels], boxes: Sequence[Letterbox], orientations: Sequence[int]
    ) -> list[tuple[Pixels, bool]]:
        """Letterboxed RGB pixels of each encoded image, and whether its decoded size was the expected one."""
        (out,) = self._pipeline.run(image=list(images))
        return _fit_all([np.asarray(out[i]) for i in range(len(images))], boxes, orientations)


class CpuLetterbox:
    """The same of decoded images."""

    def run(
        self, images: Sequence[Pixels], boxes: Sequence[Letterbox], orientations: Sequence[int]
    ) -> list[tuple[Pixels, bool]]:
        """Letterboxed RGB pixels of each image [h, w, 3], and whether its size was the expected one."""
        return _fit_all(images, boxes, orientations)


def _fit_all(
    images: Sequence[Pixels], boxes: Sequence[Letterbox], orientations: Sequence[int]
) -> list[tuple[Pixels, bool]]:
    return [_fit(*one) for one in zip(images, boxes, orientations, strict=True)]


def _size(box: Letterbox) -> tuple[int, int]:
    return box.source_height, box.source_width


def _fit(pixels: Pixels, box: Letterbox, orientation: int) -> tuple[Pixels, bool]:
    """RuntimeError where cv2 refuses."""
    try:
        pixels = turn(pixels, orientation)
        expected = pixels.shape[:2] == _size(box)
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
def _decoded() -> Any:
    return _image("cpu")


@pipeline_def  # type: ignore[untyped-decorator]
def _from_encoded(device: str) -> tuple[Any, Any]:
    return _letterbox(_image(device))


@pipeline_def  # type: ignore[untyped-decorator]
def _from_pixels(device: str) -> tuple[Any, Any]:
    pixels = fn.external_source(name="image", dtype=types.UINT8, ndim=3, layout="HWC")
    return _letterbox(pixels.gpu() if device == "mixed" else pixels)


def _image(device: str) -> Any:
    encoded = fn.external_source(name="image", dtype=types.UINT8, ndim=1)
    # Turning is ours: see turn.py.
    return fn.decoders.image(encoded, device=device, output_type=types.RGB, adjust_orientation=False)


def _letterbox(image: Any) -> tuple[Any, Any]:
    resized = fn.resize(
        image,
        size=fn.external_source(name="resized", dtype=types.FLOAT, ndim=1),
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )
    padded = fn.slice(
        resized,
        fn.external_source(name="start", dtype=types.INT32, ndim=1),
        fn.external_source(name="padded", dtype=types.INT32, ndim=1),
        axes=(0, 1),
        out_of_bounds_policy="pad",
        fill_values=[PAD_GREY] * 3,
    )
    return padded, image.shape()
