"""Triton's model control, over HTTP: what it serves, and what it is told to load and unload."""

import asyncio
import contextlib
import re
from typing import Any, Literal

import aiohttp

from trapstream.core import json_codec
from trapstream.core.errors import Retryable, TrapstreamError

State = Literal["NONE", "LOADING", "READY", "UNLOADING"]
_LOOK = aiohttp.ClientTimeout(total=5)
_LOAD = aiohttp.ClientTimeout(total=600)
"""A large model on few cores takes minutes, once for each instance."""
_UNLOAD_SECONDS, _PAUSE = 60.0, 0.1
_MOST_REASON = 400
"""Characters."""


class NotLoadedError(TrapstreamError):
    """Triton does not load the model. The text is its reason, in one line."""


async def is_ready(address: str, entry: str) -> bool | None:
    """Whether the entry is served. `address` is host:port of Triton's HTTP; None where nobody answers there."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_LOOK) as session,
            session.get(f"http://{address}/v2/models/{entry}/ready") as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def state(address: str, entry: str) -> State:
    """What Triton does with the entry. Retryable where it is away."""
    for known in await _index(address):
        if known["name"] == entry and known.get("state") in ("READY", "LOADING", "UNLOADING"):
            found: State = known["state"]
            return found
    return "NONE"


async def ready_versions(address: str) -> dict[str, set[str]]:
    """The entries that are served, each with Triton's own versions of it. Retryable where Triton is away."""
    ready: dict[str, set[str]] = {}
    for known in await _index(address):
        if known.get("state") == "READY":
            ready.setdefault(known["name"], set()).add(known["version"])
    return ready


async def instances(address: str, entry: str) -> int:
    """How many processes of the Python backend each version of the entry has; 0 for one of another backend, and for
    one that is not served. Retryable where Triton is away."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_LOOK) as session,
            session.get(f"http://{address}/v2/models/{entry}/config") as answer,
        ):
            config = json_codec.decode(await answer.read())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Retryable(f"Triton at {address} does not answer: {error!r}") from error
    if config.get("backend") != "python":
        return 0
    return sum(int(group["count"]) for group in config["instance_group"])


async def load(address: str, entry: str) -> None:
    """Loads the entry from the repository, or loads it anew; returns once it is ready.

    NotLoadedError with Triton's reason: then what was served under this name still is. Retryable where Triton is away.
    """
    status, text = await _post(address, f"/v2/repository/models/{entry}/load", _LOAD)
    if status != 200:
        raise NotLoadedError(reason(text))


async def unload(address: str, entry: str) -> None:
    """Takes no new request for the entry; those in hand are answered. Returns once it is not ready any more.

    Not for an entry that is being loaded.
    """
    status, text = await _post(address, f"/v2/repository/models/{entry}/unload", _LOOK)
    if status != 200:
        raise Retryable(f"{entry} cannot be unloaded: {reason(text)}")
    for _ in range(int(_UNLOAD_SECONDS / _PAUSE)):
        if not await is_ready(address, entry):
            return
        await asyncio.sleep(_PAUSE)
    raise Retryable(f"{entry} was not unloaded within {_UNLOAD_SECONDS:.0f} s")


async def _index(address: str) -> list[dict[str, Any]]:
    status, text = await _post(address, "/v2/repository/index", _LOOK)
    if status != 200:
        raise Retryable(f"Triton at {address} does not say what it serves: {reason(text)}")
    found: list[dict[str, Any]] = json_codec.decode(text)
    return found


def reason(text: str) -> str:
    """Triton's answer in one line: without its own preface, a Python traceback and line breaks."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json_codec.decode(text)["error"])
    text = re.split(r"\n\s*\nAt:|\bAt:\n", text, maxsplit=1)[0]
    text = re.sub(r"^.*?\bstate: (Internal: )?", "", " ".join(text.split()))
    return text.rstrip(" ;,")[:_MOST_REASON] or "it gives no reason; `trapstream logs triton` may"


async def _post(address: str, path: str, limits: aiohttp.ClientTimeout) -> tuple[int, str]:
    try:
        async with (
            aiohttp.ClientSession(timeout=limits) as session,
            session.post(f"http://{address}{path}", json={}) as answer,
        ):
            return answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Retryable(f"Triton at {address} does not answer: {error!r}") from error
