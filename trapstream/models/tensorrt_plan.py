"""Plans: built once for all that they depend on, kept in the home, found again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
from google.protobuf.message import DecodeError

from trapstream.core.errors import TrapstreamError
from trapstream.core.result_store import whole_file
from trapstream.models.bundle_store import Bundle
from trapstream.models.plan_key import Gpu, PlanKey, Profile, profiles
from trapstream.models.tensorrt_graph import data_dependent, input_dims, prepare


class PlanError(TrapstreamError):
    """No plan could be made. One line that says what to do."""


class Compiler(Protocol):
    """TensorRT, as far as a plan needs it: all that cannot be had without a GPU is behind this."""

    @property
    def version(self) -> str:
        """The whole version."""

    @property
    def gpu(self) -> Gpu:
        """The GPU that it builds for."""

    def compile(self, graph: bytes, shapes: tuple[Profile, ...]) -> bytes:
        """The plan of an ONNX graph. PlanError says why there is none."""


@dataclass(frozen=True)
class Plan:
    """A plan on disk, and what its entry in Triton's repository must know."""

    path: Path
    key: PlanKey
    recordable: bool
    """Whether its runs can be recorded as CUDA graphs."""
    built: bool
    """Now, or found."""


def plans_folder(home: Path) -> Path:
    """Where a home keeps its plans."""
    return home / "plans"


def build(home: Path, bundle: Bundle, compiler: Compiler, most: int) -> Plan:
    """The plan of a bundle, for batches of up to `most` images: found, or built now. PlanError says why there is none.

    1. Look for a plan of the same key. Killed after this: nothing was done.
    2. Build. Killed: nothing is left.
    3. Keep the plan, whole or not at all.
    """
    try:
        graph = onnx.load(str(bundle.graph), load_external_data=False)
        shapes = profiles(bundle.card.image_size, bundle.card.stride, input_dims(graph), most)
        prepared = prepare(graph)
    except (OSError, ValueError, DecodeError) as error:
        raise PlanError(f"{bundle.label} cannot become a plan: {error}") from error
    key = PlanKey(
        label=bundle.label,
        model_sha256=bundle.card.sha256,
        precision=bundle.card.precision,
        tensorrt=compiler.version,
        gpu=compiler.gpu,
        profiles=shapes,
    )
    path = plans_folder(home) / key.file
    recordable = not data_dependent(graph)
    if path.is_file() and path.stat().st_size:
        return Plan(path, key, recordable, built=False)
    try:
        plan = compiler.compile(prepared.SerializeToString(), shapes)
        with whole_file(path) as file:
            file.write(plan)
    except OSError as error:
        raise PlanError(f"the plan cannot be kept in {path.parent}: {error.strerror or error}; make room") from error
    return Plan(path, key, recordable, built=True)
