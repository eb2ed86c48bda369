"""Deploying a version of a model on a stack that runs, or for the next start of one that does not."""

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
from trapstream.local.state import Progress, Stack
from trapstream.models import bundle_store, deployed
from trapstream.models.bundle_store import Bundle
from trapstream.models.complete import COUNT, DETECTIONS, INPUT
from trapstream.models.deployed import Deployed, Deployment

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
        if stack is not None:  # else all of it is for the next start: starting.py
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
