"""Entries of Triton's model repository, rendered from their templates: for a CPU, and for a TensorRT plan.

An entry is a folder: `config.pbtxt`, and a folder for each of Triton's own versions. model_repository/examples has one
of each kind.
"""

import os
import re
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from trapstream.core.result_store import whole_file
from trapstream.core.triton_names import BULK_NICE, LIVE_VERSION, TRITON_VERSION
from trapstream.models.complete import INPUT, Rule
from trapstream.models.deployed import PRECISION, RUNTIME, Runtime
from trapstream.models.plan_key import Profile
from trapstream.models.tensorrt_plan import Plan

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,209}")
"""What needs no escaping in a path, in an address and in the shell by which the Python backend is started."""
_TYPES = {
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: dims without the batch, -1 where they vary."""

    name: str
    type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class CpuServing:
    """How a graph is served on a CPU."""

    max_batch_size: int = 8
    instances: int = 1
    threads: int = 1


@dataclass(frozen=True)
class PlanServing:
    """How a TensorRT plan is served."""

    instances: int = 2
    """Copies at work at once: two, so that one copies while the other computes."""
    queue_delay_us: int = 1000
    """A request that comes alone waits so many microseconds for company."""


def signature(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and outputs of an ONNX graph. Raises ValueError where the file is none, or of other types."""
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except DecodeError as error:
        raise ValueError(f"{path.name} is no ONNX graph") from error
    weights = {tensor.name for tensor in graph.initializer}
    return [_tensor(value) for value in graph.input if value.name not in weights], [_tensor(v) for v in graph.output]


def cpu_config(
    name: str, inputs: list[Tensor], outputs: list[Tensor], serving: CpuServing, runtime: Runtime = RUNTIME
) -> str:
    """config.pbtxt of an entry for the CPU."""
    return string.Template(_template("cpu", "config.pbtxt")).substitute(
        name=name,
        max_batch_size=serving.max_batch_size,
        instances=serving.instances,
        threads=serving.threads,
        live=LIVE_VERSION,
        nice=BULK_NICE,
        runtime=runtime.partition("-")[0],
        precision=PRECISION[runtime],
        inputs=",".join(_pbtxt(tensor, " optional: true") for tensor in inputs),
        outputs=",".join(map(_pbtxt, outputs)),
    )


def render_cpu(graph: Path, name: str, repository: Path, serving: CpuServing, runtime: Runtime = RUNTIME) -> Path:
    """Writes the entry `repository/name` of the graph, in place of the one that was there. Returns its folder.

    `runtime` is what computes on the CPU.

    Raises ValueError where the graph cannot be served, or where the name is none for a folder and an address.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a model: letters, digits and any of . _ + - @ may stand in it")
    inputs, outputs = signature(graph)
    entry = repository / name
    for version in (TRITON_VERSION, LIVE_VERSION):
        with whole_file(entry / version / "model.py") as file:
            file.write(_template("cpu", "model.py").encode())
    with whole_file(entry / "config.pbtxt") as file:
        file.write(cpu_config(name, inputs, outputs, serving, runtime).encode())
    part = entry / TRITON_VERSION / "model.onnx.part"
    shutil.copyfile(graph, part)
    part.replace(part.with_suffix(""))
    return entry


def plan_config(name: str, profiles: Sequence[Profile], recordable: bool, serving: PlanServing) -> str:
    """config.pbtxt of a plan with these profiles. `recordable` plans run as CUDA graphs."""
    most = profiles[-1].largest[0]
    exact = [profile for profile in profiles if profile.exact]
    free = len(exact) < len(profiles)
    warmup = [_sample(profile, batch) for profile in exact for batch in sorted({1, most})]
    return string.Template(_template("tensorrt", "config.pbtxt")).substitute(
        name=name,
        max_batch_size=most,
        dims="[-1, -1, 3]" if free else list(exact[0].tuned[1:]),
        most=Rule().most,
        queue_delay_us=serving.queue_delay_us,
        instances=serving.instances,
        profiles=", ".join(f'"{number}"' for number in range(len(profiles))),
        warmup="\n".join(warmup),
        graphs=_graphs(exact, most) if recordable else "",
    )


def render_plan(plan: Plan, name: str, repository: Path, serving: PlanServing) -> Path:
    """Writes the entry `repository/name` of a plan, in place of the one that was there. Returns its folder.

    1. The plan. Killed after this: an entry that was there has its old configuration; to be called again.
    2. The configuration.

    OSError as the disk gives it.
    """
    entry = repository / name
    target = entry / TRITON_VERSION / "model.plan"
    target.parent.mkdir(parents=True, exist_ok=True)
    _link_or_copy(plan.path, target)
    with whole_file(entry / "config.pbtxt") as file:
        file.write(plan_config(name, plan.key.profiles, plan.recordable, serving).encode())
    return entry


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    if kind.elem_type not in _TYPES:
        raise ValueError(f"{value.name} has an element type that is not served")
    return Tensor(value.name, _TYPES[kind.elem_type], dims[1:])


def _pbtxt(tensor: Tensor, more: str = "") -> str:
    """A scalar for each image is written as [1]: Triton has no empty dims, so clients see [N, 1]."""
    dims = f"dims: {list(tensor.dims)}" if tensor.dims else "dims: [1] reshape { shape: [] }"
    return f'\n  {{ name: "{tensor.name}" data_type: {tensor.type} {dims}{more} }}'


def _sample(profile: Profile, batch: int) -> str:
    _, height, width, channels = profile.tuned
    pixels = f"data_type: TYPE_UINT8 dims: [{height}, {width}, {channels}] zero_data: true"
    return (
        f'model_warmup [ {{ name: "{batch} x {height} x {width}" batch_size: {batch} '
        f'inputs {{ key: "{INPUT}" value: {{ {pixels} }} }} }} ]'
    )


def _graphs(exact: Sequence[Profile], most: int) -> str:
    """CUDA graphs for the usual shapes, in the batches that a full queue makes: a graph is for one shape only."""
    sizes = sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})
    specs = []
    for profile in exact:
        dims = list(profile.tuned[1:])
        specs += [
            f'graph_spec [ {{ batch_size: {size} input {{ key: "{INPUT}" value: {{ dim: {dims} }} }} }} ]'
            for size in sizes
        ]
    return "optimization { cuda { graphs: true\n" + "\n".join(specs) + "\n} }"


def _template(kind: str, name: str) -> str:
    return resources.files("model_repository").joinpath("templates", kind, name).read_text()


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name of the plan, or a second plan where the repository lies on another disk; never half of one."""
    part = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    part.unlink(missing_ok=True)
    try:
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
