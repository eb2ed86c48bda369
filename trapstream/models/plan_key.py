"""What a TensorRT plan depends on. Pure.

A plan runs on one build of TensorRT and one kind of GPU, so a plan is found again by all that it was made of, and is
built anew where any part differs.
"""

import hashlib
import re
from dataclasses import asdict, dataclass

import msgspec

from trapstream.models.profiles import Profile

RECIPE = 1
"""Raised when this code builds another plan of the same parts."""


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
        return f"{_plain(self.label)}-{self.platform}-b{batch}-{digest}.plan"

    @property
    def platform(self) -> str:
        """TensorRT's version and the GPU: what timings are valid for."""
        major, minor = self.gpu.capability
        return _plain(f"trt{self.tensorrt}-{self.gpu.name}-cc{major}.{minor}")


def _plain(text: str) -> str:
    """Nothing but what may stand in a file name."""
    return re.sub(r"[^A-Za-z0-9.@_-]+", "-", text)
