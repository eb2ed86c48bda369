"""The two DALI pipelines of a GPU: encoded bytes to letterboxed pixels, and decoded pixels to letterboxed pixels.

Both end in the same resize (linear, no antialias: cv2.INTER_LINEAR's, to one grey level) and the same padding, so
an image's pixels do not depend on the way that it took. With device="cpu" the same graph runs where there is no GPU:
slower than cpu_decode.py, and there for the tests.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from trapstream.images.letterbox import Letterbox

PAD_GREY = 114
Pixels = NDArray[np.uint8]


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

    def run(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Letterbox]) -> list[tuple[Pixels, bool]]:
        """Letterboxed RGB pixels [H, W, 3] of each image, and whether its decoded size was the expected one.

        RuntimeError where DALI refuses any of the images. The arrays stay valid.
        """
        out, shapes = self._pipeline.run(
            image=list(images),
            resized=[np.array([box.height, box.width], dtype=np.float32) for box in boxes],
            start=[np.array([-box.top, -box.left], dtype=np.int32) for box in boxes],
            padded=[np.array([box.padded_height, box.padded_width], dtype=np.int32) for box in boxes],
        )
        if self._gpu:
            out = out.as_cpu()
        # Views, not copies: each holds its tensor, which DALI does not use again while it is held.
        return [
            (np.asarray(out[i]), tuple(shapes.at(i)[:2].tolist()) == (box.source_height, box.source_width))
            for i, box in enumerate(boxes)
        ]


@pipeline_def  # type: ignore[untyped-decorator]
def _from_encoded(device: str) -> tuple[Any, Any]:
    encoded = fn.external_source(name="image", dtype=types.UINT8, ndim=1)
    # Turning is ours: see turn.py.
    return _letterbox(fn.decoders.image(encoded, device=device, output_type=types.RGB, adjust_orientation=False))


@pipeline_def  # type: ignore[untyped-decorator]
def _from_pixels(device: str) -> tuple[Any, Any]:
    pixels = fn.external_source(name="image", dtype=types.UINT8, ndim=3, layout="HWC")
    return _letterbox(pixels.gpu() if device == "mixed" else pixels)


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
