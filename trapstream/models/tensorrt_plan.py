"""Plans: the graph that TensorRT takes, built once for all that the plan depends on, kept in the home, found again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from trapstream.core.errors import TrapstreamError
from trapstream.core.result_store import whole_file
from trapstream.models.bundle_store import Bundle
from trapstream.models.complete import INPUT
from trapstream.models.plan_key import Gpu, PlanKey, Profile, profiles

_DATA_DEPENDENT = frozenset({"NonMaxSuppression", "NonZero", "Unique", "Compress"})
"""Operations whose output has as many rows as there is to tell: the server must wait to learn how many."""


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


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose pixels become floats before anything else happens to them.

    TensorRT knows uint8 at the border of a network only: whatever takes such a tensor must be a cast to float. The
    graph of a bundle transposes bytes, which costs a CPU least. ValueError where pixels go elsewhere.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = {node.output[0]: node for node in made.graph.node if node.output}
    readers = [node for node in made.graph.node if INPUT in node.input]
    if all(node.op_type == "Cast" for node in readers):
        return made
    casts = [node for node in made.graph.node if node.op_type == "Cast" and _comes_from(node.input[0], nodes)]
    if len(readers) != 1 or readers[0].op_type != "Transpose" or len(casts) != 1:
        raise ValueError(f"the graph's {INPUT} do not go through one Transpose and one Cast; import the model again")
    (transpose,), (cast,) = readers, casts
    kind = next(attribute.i for attribute in cast.attribute if attribute.name == "to")
    last, floats = cast.output[0], f"{INPUT}/float"
    transpose.input[0] = floats
    transpose.output[0] = last
    made.graph.node.remove(cast)
    made.graph.node.insert(0, helper.make_node("Cast", [INPUT], [floats], to=kind))
    onnx.checker.check_model(made)
    return made


def data_dependent(model: onnx.ModelProto) -> list[str]:
    """The kinds of operations in `model` that keep a run from being recorded as a CUDA graph."""
    return sorted({node.op_type for node in model.graph.node} & _DATA_DEPENDENT)


def input_dims(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """Batch, height, width and channels of the graph's pixels, None where they vary. ValueError for other inputs."""
    found = [value for value in model.graph.input if value.name == INPUT]
    if len(found) != 1 or found[0].type.tensor_type.elem_type != TensorProto.UINT8:
        raise ValueError(f"a completed graph takes {INPUT} as uint8")
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in found[0].type.tensor_type.shape.dim)


def _comes_from(name: str, nodes: dict[str, onnx.NodeProto]) -> bool:
    """Whether a tensor is the pixels, moved and nothing else."""
    while name != INPUT:
        node = nodes.get(name)
        if node is None or node.op_type != "Transpose":
            return False
        name = node.input[0]
    return True
