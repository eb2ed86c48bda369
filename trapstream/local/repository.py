"""The entries in Triton's model repository: what lies there is what Triton serves, also after its own restart."""

import os
import shutil
from pathlib import Path

from trapstream.core.errors import TrapstreamError
from trapstream.core.triton_names import triton_name
from trapstream.local import triton
from trapstream.local.state import Progress, StackError
from trapstream.models import bundle_store, deployed, repository_entry
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import read_card
from trapstream.models.deployed import Deployment
from trapstream.models.repository_entry import CpuServing


def folder(home: Path, label: str) -> Path:
    """Where the entry of NAME@VERSION is, or would be."""
    name, _, version = label.partition("@")
    return home / triton.REPOSITORY / triton_name(name, version)


def render(home: Path, bundle: Bundle, deployment: Deployment) -> str:
    """Writes the bundle's entry. Returns its name. StackError where it cannot be served."""
    repository, card = home / triton.REPOSITORY, bundle.card
    name = triton_name(card.name, card.version)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        repository_entry.render_cpu(bundle.graph, name, repository, default_serving(), deployment.runtime)
    except (OSError, ValueError) as error:
        raise StackError(f"the model in {bundle.folder} cannot be served: {error}") from error
    return name


def default_serving() -> CpuServing:
    """One instance of one thread for each core, unless the environment says another number of instances.

    Instances share nothing, so this scales best.
    """
    allowed = len(os.sched_getaffinity(0))
    instances = int(os.environ.get("TRAPSTREAM_TRITON_INSTANCES") or min(allowed, 16))
    return CpuServing(instances=instances, threads=max(1, allowed // instances))


def remove(home: Path, label: str) -> None:
    """Removes an entry, so that Triton does not load it when it starts again.

    Never while Triton loads it: a Python model whose file goes away then leaves Triton deaf to all model control.
    """
    shutil.rmtree(folder(home, label), ignore_errors=True)


def own_bundle() -> Bundle:
    """What is served where nothing was deployed: TRAPSTREAM_BUNDLE's, or the demonstration model. CardError."""
    first = bundle_store.package_bundles()[0]
    return Bundle(first.folder, read_card(first.folder / bundle_store.CARD))


def prepare(home: Path, progress: Progress) -> tuple[str, ...]:
    """Makes the repository what a starting stack serves: its own model and the default ones. Blocks.

    The own model is left out where another version of it was deployed, unless TRAPSTREAM_BUNDLE asks for it. What was
    never tried comes later (deploying.py), and what open jobs need beside that, the keeper loads. Returns the entries
    without which the stack cannot be called up; StackError where they cannot be served. Of others that cannot be, a
    line says why.
    """
    try:
        own, known = own_bundle(), deployed.read(home)
    except TrapstreamError as error:
        raise StackError(f"the model cannot be served: {error}") from error
    (home / triton.REPOSITORY).mkdir(parents=True, exist_ok=True)
    needed: tuple[str, ...] = ()
    if os.environ.get("TRAPSTREAM_BUNDLE") or own.card.name not in known.models:
        needed = (render(home, own, Deployment()),)
    served = set(needed)
    for name, version in sorted(known.tried()):
        label = f"{name}@{version}"
        try:
            served.add(render(home, bundle_store.find(home, label), known.how(name, version)))
        except TrapstreamError as error:
            progress(f"{label} is not served: {error}")
    for left in (home / triton.REPOSITORY).iterdir():
        if left.name not in served:
            shutil.rmtree(left, ignore_errors=True)
    return needed
