"""From encoded bytes to the pixels that the network sees. The rules of what goes which way, and of what fails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapstream.core import log
from trapstream.core.errors import Fatal, Permanent, Reason
from trapstream.images.dali_decode import CpuDecode, CpuLetterbox, LetterboxPipeline
from trapstream.images.header import Header, read_header
from trapstream.images.letterbox import Letterbox, fixed_letterbox, letterbox, stretched
from trapstream.images.pillow_decode import pillow_decode


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image as it was fetched, and what its model wants."""

    data: bytes
    image_size: int
    """Pixels of the longest side after the letterbox."""
    stride: int
    fixed: tuple[int, int] | None = None
    """Height and width that the model takes, where it takes no other."""
    stretch: bool = False
    """Whether the image is stretched to them."""

    def letterbox(self, width: int, height: int) -> Letterbox:
        """Where a source of `width` x `height` comes to lie in the model's input."""
        if self.fixed is None:
            return letterbox(width, height, self.image_size, self.stride)
        return stretched(width, height, self.fixed) if self.stretch else fixed_letterbox(width, height, self.fixed)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What the network sees of an image."""

    pixels: NDArray[np.uint8]
    """RGB, [padded_height, padded_width, 3]. It stays valid, and holds memory, as long as it is kept."""
    letterbox: Letterbox


@dataclass(frozen=True, slots=True)
class _Job:
    index: int
    encoded: Encoded
    header: Header
    box: Letterbox
    """After the turn."""


class Decoder:
    """Decodes batches, in one thread: not thread-safe, synchronous, without the GIL while DALI and cv2 work.

    `batch`: images in one run of DALI; `threads`: DALI's; `device`: "cpu", or "mixed" for the GPU; `max_pixels`:
    largest image, and most pixels decoded at once.
    """

    def __init__(self, batch: int, threads: int, device: str, max_pixels: int) -> None:
        self._batch = batch
        self._max_pixels = max_pixels
        self._encoded: LetterboxPipeline | CpuDecode
        self._pixels: LetterboxPipeline | CpuLetterbox
        if device == "mixed":
            self._encoded = LetterboxPipeline("encoded", batch, threads, device)
            self._pixels = LetterboxPipeline("pixels", 1, threads, device)
        else:
            self._encoded, self._pixels = CpuDecode(batch, threads), CpuLetterbox()

    def decode(self, images: Sequence[Encoded]) -> list[Decoded | Permanent]:
        """The images in order: pixels, or why not. Fatal where DALI itself no longer works.

        Each answer depends on that image's bytes alone, never on its neighbours: one that DALI refuses makes it
        refuse the batch, which is then run again one by one, through the same graph. All eight EXIF orientations
        are turned as PIL.ImageOps.exif_transpose does.
        """
        answers: list[Decoded | Permanent] = []
        direct: list[_Job] = []
        indirect: list[_Job] = []
        for index, encoded in enumerate(images):
            try:
                header = read_header(encoded.data, self._max_pixels)
            except Permanent as failure:
                answers.append(failure)
                continue
            box = encoded.letterbox(header.width, header.height)
            job = _Job(index, encoded, header, box)
            (direct if header.direct else indirect).append(job)
            answers.append(_UNANSWERED)
        for jobs in self._portions(direct):
            for job, pixels in zip(jobs, self._try(jobs), strict=True):
                if pixels is None:
                    indirect.append(job)
                else:
                    answers[job.index] = Decoded(pixels, job.box)
        for job in indirect:
            answers[job.index] = self._by_pillow(job)
        return answers

    def _portions(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Runs of at most a batch of images and at most max_pixels together: memory stays bounded."""
        portion: list[_Job] = []
        pixels = 0
        for job in jobs:
            if portion and (len(portion) == self._batch or pixels + job.header.pixels > self._max_pixels):
                yield portion
                portion, pixels = [], 0
            portion.append(job)
            pixels += job.header.pixels
        if portion:
            yield portion

    def _try(self, jobs: Sequence[_Job]) -> list[NDArray[np.uint8] | None]:
        """Pixels by DALI; None for an image that it refuses, or whose header told another size."""
        try:
            found = self._encoded.run(
                [np.frombuffer(job.encoded.data, dtype=np.uint8) for job in jobs],
                [job.box for job in jobs],
                [job.header.orientation for job in jobs],
            )
        except RuntimeError:
            if len(jobs) == 1:
                return [None]
            return [pixels for job in jobs for pixels in self._try([job])]
        return [pixels if expected else None for pixels, expected in found]

    def _by_pillow(self, job: _Job) -> Decoded | Permanent:
        try:
            source = pillow_decode(job.encoded.data, job.header)
        except Permanent as failure:
            return failure
        try:
            [(pixels, _)] = self._pixels.run([source], [job.box], [_UPRIGHT])
        except RuntimeError as error:
            self._require_health(error)
            return Permanent(Reason.DAMAGED, f"{job.header.format}: the pixels cannot be resized")
        return Decoded(pixels, job.box)

    def _require_health(self, error: RuntimeError) -> None:
        """Fatal unless DALI can still resize the simplest image: then the one that failed is at fault."""
        log.get_logger().error("resize failed", error=str(error))
        try:
            self._pixels.run([np.zeros((2, 2, 3), dtype=np.uint8)], [letterbox(2, 2, 32, 32)], [_UPRIGHT])
        except RuntimeError:
            raise Fatal("DALI no longer works in this process: see the log, then restart the consumer") from error


_UNANSWERED = Permanent(Reason.LOST)
_UPRIGHT = 1
"""The EXIF orientation of pixels that need no turn."""
