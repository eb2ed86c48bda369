"""The entry of a TensorRT plan in Triton's model repository, rendered from its template."""

import os
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from trapstream.core.result_store import whole_file
from trapstream.core.triton_names import TRITON_VERSION
from trapstream.models.complete import INPUT, Rule
from trapstream.models.plan import Plan
from trapstream.models.profiles import Profile


@dataclass(frozen=True)
class Serving:
    """How a plan is served."""

    instances: int = 2
    """Copies at work at once: two, so that one copies while the other computes."""
    queue_delay_us: int = 1000
    """A request that comes alone waits so many microseconds for company."""


def render(plan: Plan, name: str, repository: Path, serving: Serving) -> Path:
    """Writes the entry `repository/name`, in place of the one that was there. Returns its folder.

    1. The plan. Killed after this: an entry that was there has its old configuration; to be called again.
    2. The configuration.

    OSError as the disk gives it.
    """
    entry = repository / name
    target = entry / TRITON_VERSION / "model.plan"
    target.parent.mkdir(parents=True, exist_ok=True)
    _link_or_copy(plan.path, target)
    with whole_file(entry / "config.pbtxt") as file:
        file.write(config(name, plan.key.profiles, plan.recordable, serving).encode())
    return entry


def config(name: str, shapes: Sequence[Profile], recordable: bool, serving: Serving) -> str:
    """config.pbtxt of a plan with these profiles. `recordable` plans run as CUDA graphs."""
    most = shapes[-1].largest[0]
    exact = [profile for profile in shapes if profile.exact]
    free = len(exact) < len(shapes)
    batches = sorted({1, most})
    warmup = [_sample(profile, batch) for profile in exact for batch in batches]
    template = resources.files("model_repository.templates.tensorrt").joinpath("config.pbtxt").read_text()
    return string.Template(template).substitute(
        name=name,
        max_batch_size=most,
        dims="[-1, -1, 3]" if free else list(exact[0].tuned[1:]),
        most=Rule().most,
        queue_delay_us=serving.queue_delay_us,
        instances=serving.instances,
        profiles=", ".join(f'"{number}"' for number in range(len(shapes))),
        warmup="\n".join(warmup),
        graphs=_graphs(exact, most) if recordable else "",
    )


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
