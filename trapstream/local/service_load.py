"""How busy the services of a local stack are, and what they wait for, asked of each where it tells its health."""

import asyncio

import aiohttp
import msgspec

from trapstream.core.verdict import Load, Totals, merged
from trapstream.local.state import SERVICES, Stack

_SECONDS = aiohttp.ClientTimeout(total=2)


class _Health(msgspec.Struct):
    load: Load | None = None
    totals: Totals | None = None
    waiting_for_model: dict[str, int] = {}
    model_errors: dict[str, str] = {}


async def load(stack: Stack) -> Load | None:
    """The last seconds of all services together; None where none tells."""
    return merged(health.load for health in (await _ask(stack)).values() if health.load is not None)


async def totals(stack: Stack) -> dict[str, Totals]:
    """What each service did since its start, by the name of its process. One that does not answer is left out."""
    return {name: health.totals for name, health in (await _ask(stack)).items() if health.totals is not None}


async def waiting_models(stack: Stack) -> dict[str, str]:
    """The models that images wait for, by label (name@version): what each answers that is loaded and not well, and an
    empty text for one that Triton does not serve."""
    found: dict[str, str] = {}
    for health in (await _ask(stack)).values():
        found |= dict.fromkeys(health.waiting_for_model, "") | health.model_errors
    return found


async def _ask(stack: Stack) -> dict[str, _Health]:
    addresses = {name: address for name, address in stack.endpoints.items() if name.partition("-")[0] in SERVICES}
    async with aiohttp.ClientSession(timeout=_SECONDS) as session:
        answers = await asyncio.gather(*(_one(session, address) for address in addresses.values()))
    return {name: health for name, health in zip(addresses, answers, strict=True) if health is not None}


async def _one(session: aiohttp.ClientSession, address: str) -> _Health | None:
    try:
        async with session.get(f"http://{address}/healthz") as answer:
            return msgspec.json.decode(await answer.read(), type=_Health)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
        return None  # it starts, or dies: the others tell
