"""What a TensorRT plan depends on: the input shapes that it is tuned for, and all else that it is made of. Pure.

A plan runs on one build of TensorRT and one kind of GPU, so a plan is found again by all that it was made of, and is
built anew where any part differs.

TensorRT tunes for ranges of shapes, called optimisation profiles. Photographs have few shapes, so each usual one gets
a profile of its own, of which only the batch varies; one more takes every other shape. Triton runs a batch by the
profile whose tuned shape is nearest (GetMostOptimizedProfile in its TensorRT backend): the sum of the differences of
all dimensions among the profiles that allow the batch. Versions of it compare each dimension with the one before, so
the shape of the open profile is chosen such that it is never the nearest for a usual shape, in either way of counting.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import msgspec

RECIPE = 1
"""Raised when this code builds another plan of the same parts."""

Shape = tuple[int, int, int, int]
"""Batch, height, width, channels."""

ASPECTS = ((4, 3), (16, 9))
"""Long side to short side of what camera traps make."""
_OPEN_ASPECT = (2, 1)


@dataclass(frozen=True)
class Profile:
    """One range of shapes, and the shape in it that the plan is fastest for."""

    smallest: Shape
    tuned: Shape
    largest: Shape

    @property
    def exact(self) -> bool:
        """Only the batch varies."""
        return self.smallest[1:] == self.largest[1:]


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU."""

    name: str
    capability: tuple[int, int]
    """Compute capability: major, minor."""


@dataclass(frozen=True)
class PlanKey:
    """Everything that a plan depends on."""

    label: str
    """NAME@VERSION of the bundle, for people: the digest of its graph is what counts."""
    model_sha256: str
    precision: str
    """That of the graph: a strongly typed plan computes in it."""
    tensorrt: str
    """The whole version."""
    gpu: Gpu
    profiles: tuple[Profile, ...]
    recipe: int = RECIPE

    @property
    def file(self) -> str:
        """The plan's file name: readable, and another one wherever a part differs."""
        digest = hashlib.sha256(msgspec.json.encode(asdict(self))).hexdigest()[:16]
        batch = self.profiles[-1].largest[0]
        major, minor = self.gpu.capability
        platform = f"trt{self.tensorrt}-{self.gpu.name}-cc{major}.{minor}"
        return f"{_plain(self.label)}-{_plain(platform)}-b{batch}-{digest}.plan"


def profiles(image_size: int, stride: int, dims: Sequence[int | None], most: int) -> tuple[Profile, ...]:
    """The profiles of a graph that takes pixels of `dims`: batch, height, width, channels, None where it varies.

    `image_size` is the longest side in pixels, and both sides are multiples of `stride`. `most` images travel in one
    batch. Usual shapes come first: landscape, then upright. ValueError for a graph that does not take batches of
    images of three channels.
    """
    if len(dims) != 4 or dims[3] != 3:
        raise ValueError("a completed graph takes images of [batch, height, width, 3]")
    batch, height, width, _ = dims
    if batch is not None:
        raise ValueError(f"the graph takes batches of {batch} and no others; export the model with a dynamic batch")
    if height is not None and width is not None:
        return (_profile((height, width), most),)
    if height is not None or width is not None:
        raise ValueError("the graph has one fixed side and one free side; export the model with both or none fixed")
    usual = [(image_size, _side(image_size, stride, aspect)) for aspect in ASPECTS]
    shapes = [(short, long) for long, short in usual] + usual
    narrow = (image_size, _side(image_size, stride, _OPEN_ASPECT))
    rest = Profile((1, stride, stride, 3), (most, *narrow, 3), (most, image_size, image_size, 3))
    return (*(_profile(shape, most) for shape in dict.fromkeys(shapes)), rest)


def _profile(shape: tuple[int, int], most: int) -> Profile:
    return Profile((1, *shape, 3), (most, *shape, 3), (most, *shape, 3))


def _side(image_size: int, stride: int, aspect: tuple[int, int]) -> int:
    """The short side of an image whose long side is `image_size`, as the letterbox pads it."""
    long, short = aspect
    return -(-round(image_size * short / long) // stride) * stride


def _plain(text: str) -> str:
    """Nothing but what may stand in a file name."""
    return re.sub(r"[^A-Za-z0-9.@_-]+", "-", text)
