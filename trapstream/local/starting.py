"""The models of a stack that starts: a default version that does not work leaves the one before it serving.

Once Triton has tried to load what lay in its repository, and before the stack is called up, so that the first job finds
what it names.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from trapstream.core.errors import Retryable, TrapstreamError
from trapstream.local import deploying, loading, repository
from trapstream.local.child import Health
from trapstream.local.state import Progress
from trapstream.models import bundle_store, deployed
from trapstream.models.deployed import Deployed, DeployedError


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
            known = await _one(home, known, name, endpoints, progress)
        if known != before:
            try:
                deployed.write(home, known)
            except DeployedError as error:
                progress(str(error))  # the next start does the same again
    return True


async def _one(home: Path, known: Deployed, name: str, endpoints: Mapping[str, str], progress: Progress) -> Deployed:
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
        await deploying.bring(home, bundle, known.how(name, version), endpoints, progress)
    except Retryable:
        raise
    except TrapstreamError as error:
        try:
            await deploying.undo(home, bundle, http, None)
        except TrapstreamError as left:
            return f"{error}; {left}"
        return str(error)
    return ""
