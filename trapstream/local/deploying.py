"""Deploying a version of a model on a stack that runs, or for the next start of one that does not.

A start has its default versions served once Triton has tried to load what lay in its repository, and before the stack
is called up, so that the first job finds what it names. One that does not work leaves the one before it serving.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from trapstream.core.errors import Retryable, TrapstreamError
from trapstream.core.triton_names import TRITON_VERSION
from trapstream.local import loading, repository
from trapstream.local.child import Health
from trapstream.local.state import Progress, Stack
from trapstream.models import bundle_store, deployed
from trapstream.models.bundle_store import Bundle
from trapstream.models.complete import COUNT, DETECTIONS, INPUT
from trapstream.models.deployed import Deployed, DeployedError, Deployment

_GREY = 114
_FIRST_SECONDS = 300.0


class NotDeployedError(TrapstreamError):
    """The version cannot be deployed; what was served still is. One line that says why."""


def deploy(
    home: Path, bundle: Bundle, stack: Stack | None, progress: Progress, deployment: Deployment | None = None
) -> str | None:
    """Makes `bundle` the default version of its name. Returns the default before it. Blocks.

    `stack` is one that is up; without one the version is written down for the next start. The steps, and what a death
    after each of them costs:

    1. The version is written down, not as the default. Death: the keeper unloads what no job needs.
    2. Its entry is written, and Triton loads it. Death: as after 1; a start of the stack removes the entry.
    3. One image is answered. Death: as after 1.
    4. It is written down as the default. From then on jobs get it that name no version.

    Where 2 or 3 fail all of it is undone. NotDeployedError says why. Interrupted, it leaves what a death leaves.
    """
    wanted, card = deployment or Deployment(), bundle.card
    with deployed.alone(home, lambda: progress("waiting for a deploy that is under way")):
        found = deployed.read(home)
        before = _with_own(found, card.name)
        old = before.of(card.name).default
        deploying = before.with_version(card.name, card.version, wanted)
        if stack is not None:  # else all of it is for the next start: `settle`
            deployed.write(home, deploying)  # 1.
            try:
                asyncio.run(_serve(home, bundle, stack, progress, before, wanted))
            except NotDeployedError:
                deployed.write(home, found)
                raise
        deployed.write(home, deploying.with_default(card.name, card.version, untried=stack is None))  # 4.
    return old


def previous(home: Path, name: str) -> Bundle:
    """The default version before the present one. NotDeployedError where there is none."""
    versions = deployed.read(home).of(name)
    if versions.previous is None:
        raise NotDeployedError(f"no version of {name} was the default before; `trapstream model ls` lists what is here")
    return bundle_store.find(home, f"{name}@{versions.previous}")


def _with_own(known: Deployed, name: str) -> Deployed:
    """With the version that a stack serves without being asked, where nothing of that name was deployed before."""
    own = repository.own_bundle().card
    if name != own.name or name in known.models:
        return known
    return known.with_version(name, own.version, Deployment()).with_default(name, own.version)


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
    progress(f"loading {bundle.label}")
    name = await asyncio.to_thread(repository.render, home, bundle, wanted)
    await loading.load(endpoints["triton-http"], name)
    progress(f"warming up {bundle.label}")
    await _answer_first_image(endpoints["triton-grpc"], name, bundle)


async def _answer_first_image(address: str, entry: str, bundle: Bundle) -> None:
    """Has one grey image answered: the first is slow, and it shows whether the model works at all.

    `address` is host:port of Triton's gRPC.

    loading.NotLoadedError where the model answers with an error, or with what is no number.
    """
    size, stride = bundle.card.image_size, bundle.card.stride
    height, width = bundle.card.fixed or (-(-size * 3 // 4 // stride) * stride, size)
    image = np.full((1, height, width, 3), _GREY, np.uint8)
    pixels = triton.InferInput(INPUT, list(image.shape), "UINT8")
    pixels.set_data_from_numpy(image)
    async with triton.InferenceServerClient(address) as client:
        try:
            answer = await client.infer(
                entry, [pixels], model_version=TRITON_VERSION, client_timeout=_FIRST_SECONDS,
                outputs=[triton.InferRequestedOutput(name) for name in (DETECTIONS, COUNT)],
            )  # fmt: skip
        except InferenceServerException as error:
            raise loading.NotLoadedError(f"it fails on its first image: {loading.reason(error.message())}") from error
    if not all(np.isfinite(answer.as_numpy(name)).all() for name in (DETECTIONS, COUNT)):
        raise loading.NotLoadedError("it answers its first image with what is no number")


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


def settled(health: Health, home: Path, endpoints: Mapping[str, str], progress: Progress) -> Health:
    """The health of Triton, which is well for the first time once `settle` was done."""
    done = False

    async def ready() -> bool:
        nonlocal done
        if not await health():
            return False
        if not done:
            try:
                done = await settle(home, endpoints, progress)
            except Retryable:
                return False  # Triton went away meanwhile
        return done

    return ready


async def settle(home: Path, endpoints: Mapping[str, str], progress: Progress) -> bool:
    """Has each default version served, those that were never tried with an image answered. False: ask again soon.

    Where one is not to be had, the default before it is the default again, and a line says why. Killed midway, the next
    start does the same. Retryable where Triton is away.
    """
    if not deployed.deployed_file(home).exists():
        return True
    with deployed.alone(home) as held:
        if not held:
            return False  # a deploy that began before the start is noting something
        before = known = deployed.read(home)
        for name in sorted(known.models):
            known = await _settle_name(home, known, name, endpoints, progress)
        if known != before:
            try:
                deployed.write(home, known)
            except DeployedError as error:
                progress(str(error))  # the next start does the same again
    return True


async def _settle_name(
    home: Path, known: Deployed, name: str, endpoints: Mapping[str, str], progress: Progress
) -> Deployed:
    """What is deployed after the default version of `name` was looked at."""
    versions = known.of(name)
    if versions.default is None:
        return known
    why = await _fault(home, known, f"{name}@{versions.default}", versions.untried, endpoints, progress)
    if not why:
        return known.with_default(name, versions.default)
    line = f"{name}@{versions.default} is not served: {why}"
    if versions.previous is not None:
        back = f"{name}@{versions.previous}"
        other = await _fault(home, known, back, True, endpoints, progress)
        if not other:
            progress(f"{line}; {back} serves on, and --model {name} means it again")
            return known.with_default(name, versions.previous)
        line += f"; nor is {back}: {other}"
    progress(line)
    return known.without_default(name) if versions.untried else known


async def _fault(
    home: Path, known: Deployed, label: str, untried: bool, endpoints: Mapping[str, str], progress: Progress
) -> str:
    """Why a version is not served; empty where it is. What cannot be served leaves nothing in Triton."""
    name, _, version = label.partition("@")
    http = endpoints["triton-http"]
    if not untried and await loading.is_ready(http, repository.folder(home, label).name):
        return ""
    try:
        bundle = await asyncio.to_thread(bundle_store.find, home, label)
    except TrapstreamError as error:
        return str(error)
    try:
        await bring(home, bundle, known.how(name, version), endpoints, progress)
    except Retryable:
        raise
    except TrapstreamError as error:
        try:
            await undo(home, bundle, http, None)
        except TrapstreamError as left:
            return f"{error}; {left}"
        return str(error)
    return ""
