"""Entries of Triton's model repository, rendered from their templates: for a CPU, and for a TensorRT plan.

An entry is a folder: `config.pbtxt`, and a folder for each of Triton's own versions. model_repository/examples has one
of each kind.
"""

import re
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from trapstream.core.result_store import whole_file
from trapstream.core.triton_names import BULK_NICE, LIVE_VERSION, TRITON_VERSION
from trapstream.models.complete import INPUT, Rule
from trapstream.models.deployed import PRECISION, RUNTIME, Runtime
from trapstream.models.plan_key import Profile
from trapstream.models.tensorrt_plan import Plan

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,209}")
"""What needs no escaping in a path, in an address and in the shell by which the Python backend is started."""


@dataclass(frozen=True)
class CpuServing:
    """How a graph is served on a CPU."""

    instances: int = 1
    threads: int = 1


PLAN_INSTANCES = 2
"""Copies of a plan at work at once: two, so that one copies while the other computes."""


def render_cpu(graph: Path, name: str, repository: Path, serving: CpuServing, runtime: Runtime = RUNTIME) -> Path:
    """Writes the entry `repository/name` of the graph, in place of the one that was there. Returns its folder.

    `runtime` is what computes on the CPU. ValueError where the name is none for a folder and an address.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a model: letters, digits and any of . _ + - @ may stand in it")
    entry = repository / name
    for version in (TRITON_VERSION, LIVE_VERSION):
        with whole_file(entry / version / "model.py") as file:
            file.write(_template("cpu", "model.py").encode())
    config = string.Template(_template("cpu", "config.pbtxt")).substitute(
        name=name,
        instances=serving.instances,
        threads=serving.threads,
        live=LIVE_VERSION,
        nice=BULK_NICE,
        runtime=runtime.partition("-")[0],
        precision=PRECISION[runtime],
        most=Rule().most,
    )
    with whole_file(entry / "config.pbtxt") as file:
        file.write(config.encode())
    part = entry / TRITON_VERSION / "model.onnx.part"
    shutil.copyfile(graph, part)
    part.replace(part.with_suffix(""))
    return entry


def plan_config(name: str, profiles: Sequence[Profile], recordable: bool, instances: int = PLAN_INSTANCES) -> str:
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
        instances=instances,
        profiles=", ".join(f'"{number}"' for number in range(len(profiles))),
        warmup="\n".join(warmup),
        graphs=_graphs(exact, most) if recordable else "",
    )


def render_plan(plan: Plan, name: str, repository: Path, instances: int = PLAN_INSTANCES) -> Path:
    """Writes the entry `repository/name` of a plan, in place of the one that was there. Returns its folder.

    1. The plan. Killed after this: an entry that was there has its old configuration; to be called again.
    2. The configuration.

    OSError as the disk gives it.
    """
    entry = repository / name
    target = entry / TRITON_VERSION / "model.plan"
    with plan.path.open("rb") as made, whole_file(target) as file:
        shutil.copyfileobj(made, file)
    with whole_file(entry / "config.pbtxt") as file:
        file.write(plan_config(name, plan.key.profiles, plan.recordable, instances).encode())
    return entry


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
