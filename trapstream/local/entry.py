"""A model repository entry, rendered from its template: what Triton needs to serve a bundle's graph."""

import os
import re
import shutil
import string
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from trapstream.core.triton_names import BULK_NICE, LIVE_VERSION, TRITON_VERSION
from trapstream.models.runtime import PRECISION, RUNTIME, Runtime

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
class Serving:
    """How an entry is served."""

    max_batch_size: int = 8
    instances: int = 1
    threads: int = 1


def default_serving() -> Serving:
    """One instance of one thread for each core, unless the environment says another number of instances.

    Instances share nothing, so this scales best.
    """
    allowed = len(os.sched_getaffinity(0))
    instances = int(os.environ.get("TRAPSTREAM_TRITON_INSTANCES") or min(allowed, 16))
    return Serving(instances=instances, threads=max(1, allowed // instances))


def signature(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and outputs of an ONNX graph. Raises ValueError where the file is none, or of other types."""
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except DecodeError as error:
        raise ValueError(f"{path.name} is no ONNX graph") from error
    weights = {tensor.name for tensor in graph.initializer}
    return [_tensor(value) for value in graph.input if value.name not in weights], [_tensor(v) for v in graph.output]


def config(name: str, inputs: list[Tensor], outputs: list[Tensor], serving: Serving, runtime: Runtime = RUNTIME) -> str:
    """config.pbtxt of an entry for the CPU."""
    template = string.Template(_template("config.pbtxt"))
    return template.substitute(
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


def render(graph: Path, name: str, repository: Path, serving: Serving, runtime: Runtime = RUNTIME) -> Path:
    """Writes the entry `repository/name` of the graph, in place of the one that was there. Returns its folder.

    `runtime` is what computes on the CPU.

    Raises ValueError where the graph cannot be served, or where the name is none for a folder and an address.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a model: letters, digits and any of . _ + - @ may stand in it")
    inputs, outputs = signature(graph)
    entry = repository / name
    folder = entry / TRITON_VERSION
    for version in (TRITON_VERSION, LIVE_VERSION):
        (entry / version).mkdir(parents=True, exist_ok=True)
        _replace(entry / version / "model.py", _template("model.py"))
    _replace(entry / "config.pbtxt", config(name, inputs, outputs, serving, runtime))
    part = folder / "model.onnx.part"
    shutil.copyfile(graph, part)
    part.replace(folder / "model.onnx")
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


def _template(name: str) -> str:
    return resources.files("model_repository.templates.cpu").joinpath(name).read_text()


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)
