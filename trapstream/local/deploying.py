"""Deploying a version of a model on a stack that runs, or for the next start of one that does not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from trapstream.core.errors import Retryable, TrapstreamError
from trapstream.local import entry, loading, repository
from trapstream.local.state import Stack
from trapstream.local.warm import warm
from trapstream.models import bundle_store as store
from trapstream.models import deployed
from trapstream.models.bundle_store import Bundle
from trapstream.models.deployed import Deployed, Deployment

Progress = Callable[[str], None]
_SAY_SECONDS = 5.0


class NotDeployedError(TrapstreamError):
    """The version cannot be deployed; what was served still is. One line that says why."""


def deploy(
    home: Path, bundle: Bundle, stack: Stack | None, progress: Progress, deployment: Deployment | None = None
) -> str | None:
    """Makes `bundle` the default version of its name. Returns the default before it. Blocks.

    `stack` is one that is up; without one the version is noted for the next start. The steps, and what a death after
    each of them costs:

    1. The version is noted, not as the default. Death: the keeper unloads what no job needs.
    2. Its entry is written, and Triton loads it. Death: as after 1; a start of the stack removes the entry.
    3. One image is answered. Death: as after 1.
    4. It is noted as the default. From then on jobs get it that name no version.

    Where 2 or 3 fail all of it is undone. NotDeployedError says why. Interrupted, it leaves what a death leaves.
    """
    wanted, card = deployment or Deployment(), bundle.card
    with deployed.alone(home, lambda: progress("waiting for a deploy that is under way")):
        found = deployed.read(home)
        before = _with_own(found, card.name)
        old = before.of(card.name).default
        noted = before.noted(card.name, card.version, wanted)
        if stack is None:
            _examine(bundle)  # the rest is for the next start: starting.py
        else:
            deployed.write(home, noted)  # 1.
            try:
                asyncio.run(_serve(home, bundle, stack, progress, before, wanted))
            except NotDeployedError:
                deployed.write(home, found)
                raise
        deployed.write(home, noted.chosen(card.name, card.version, untried=stack is None))  # 4.
    return old


def previous(home: Path, name: str) -> Bundle:
    """The default version before the present one. NotDeployedError where there is none."""
    versions = deployed.read(home).of(name)
    if versions.previous is None:
        raise NotDeployedError(f"no version of {name} was the default before; `trapstream model ls` lists what is here")
    return store.find(home, f"{name}@{versions.previous}")


def _with_own(known: Deployed, name: str) -> Deployed:
    """With the version that a stack serves without being asked, where nothing of that name was deployed before."""
    own = repository.own_bundle().card
    if name != own.name or name in known.models:
        return known
    return known.noted(name, own.version, Deployment()).chosen(name, own.version)


def _examine(bundle: Bundle) -> None:
    try:
        entry.signature(bundle.graph)
    except (OSError, ValueError) as error:
        raise NotDeployedError(f"{bundle.label} cannot be served: {error}") from error


async def _serve(
    home: Path, bundle: Bundle, stack: Stack, progress: Progress, before: Deployed, wanted: Deployment
) -> None:
    http, card = stack.endpoints["triton-http"], bundle.card
    name = repository.folder(home, bundle.label).name
    there = before.of(card.name).versions.get(card.version)
    served = await loading.is_ready(http, name)
    if served is None:
        raise NotDeployedError("Triton is away; `trapstream ps` shows when it is back, then try again")
    if served and there == wanted:
        return
    try:
        await bring(home, bundle, wanted, stack.endpoints, progress)
    except TrapstreamError as error:
        await undo(home, bundle, http, there if served else None)
        raise NotDeployedError(f"{bundle.label} does not load: {error}") from error


async def bring(
    home: Path, bundle: Bundle, wanted: Deployment, endpoints: Mapping[str, str], progress: Progress
) -> None:
    """Steps 2 and 3: Triton loads the bundle, and answers an image. TrapstreamError says why it does not."""
    async with _said(progress, f"loading {bundle.label}"):
        name = await asyncio.to_thread(repository.render, home, bundle, wanted)
        await loading.load(endpoints["triton-http"], name)
    async with _said(progress, f"warming up {bundle.label}"):
        await warm(endpoints["triton-grpc"], name, bundle)


async def undo(home: Path, bundle: Bundle, http: str, there: Deployment | None) -> None:
    """The entry as it was: gone, or served as before."""
    name = repository.folder(home, bundle.label).name
    with contextlib.suppress(Retryable):  # Triton is away: it comes back with what it finds
        if there is not None:
            await asyncio.to_thread(repository.render, home, bundle, there)
            await loading.load(http, name)
        elif (now := await loading.state(http, name)) == "LOADING":
            raise TrapstreamError(
                f"Triton loads {bundle.label} still; see `trapstream logs triton`, and deploy it again"
            )
        elif now == "READY":
            await loading.unload(http, name)
    if there is None:
        repository.remove(home, bundle.label)


@contextlib.asynccontextmanager
async def _said(progress: Progress, what: str) -> AsyncIterator[None]:
    """Says what is being done, and from time to time for how long already."""
    began = time.monotonic()

    async def go_on() -> None:
        while True:
            await asyncio.sleep(_SAY_SECONDS)
            progress(f"{what}: {time.monotonic() - began:.0f} s")

    progress(what)
    saying = asyncio.create_task(go_on())
    try:
        yield
    finally:
        saying.cancel()
