"""The models that are here: which are deployed, served and used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trapstream.core import status as statuses
from trapstream.core.states import ENDED
from trapstream.local import loading, repository
from trapstream.local.state import Stack
from trapstream.models import bundle_store, deployed

State = Literal["served", "not loaded", "deployed", "not deployed"]
"""`not loaded`: it should be served and is not. `deployed`: it was, and comes back for an open job or a rollback; while
no stack is up, the next start serves the default ones of these."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One version."""

    name: str
    version: str
    default: bool
    """Whether jobs get it that name no version."""
    state: State
    family: str
    size: int
    """Longest side of its input, in pixels."""
    precision: str
    runtime: str | None
    """None where it is not deployed."""
    jobs: tuple[str, ...]
    """The open jobs that use it; empty while no stack is up."""


async def inventory(home: Path, stack: Stack | None) -> list[Model]:
    """All models of this home. `stack` is one that is up."""
    known, own = deployed.read(home), repository.own_bundle().label
    jobs = await _open_jobs(stack.endpoints["kafka"]) if stack is not None else {}
    found = {bundle.label: bundle for bundle in reversed(bundle_store.list_bundles(home))}
    models = []
    for label, bundle in reversed(found.items()):
        card, versions = bundle.card, known.of(bundle.card.name)
        default = bundle_store.preferred(home, card.name) == card.version
        state: State = "not deployed"
        if card.version in versions.versions or (label == own and not versions.versions):
            state = "deployed"
        if stack is not None:
            ready = await loading.is_ready(stack.endpoints["triton-http"], repository.folder(home, label).name)
            state = "served" if ready else "not loaded" if default and state == "deployed" else state
        models.append(
            Model(
                name=card.name,
                version=card.version,
                default=default,
                state=state,
                family=card.family,
                size=card.image_size,
                precision=card.precision,
                runtime=None if state == "not deployed" else known.how(card.name, card.version).runtime,
                jobs=tuple(sorted(jobs.get(label, ()))),
            )
        )
    return models


async def _open_jobs(servers: str) -> dict[str, list[str]]:
    """The ids of the open jobs by their model."""
    ended = {job for job, status in (await statuses.read_all(servers)).items() if status.state in ENDED}
    jobs: dict[str, list[str]] = {}
    for spec in (await statuses.read_specs(servers)).values():
        if spec.job not in ended and not spec.cancelled:
            jobs.setdefault(spec.model.label, []).append(spec.job)
    return jobs
