"""Whether a child that was ready still answers: one that hangs does not die, and is of no more use than a dead one."""

import asyncio
import time

from trapstream.local.child import Child

_ASKS = 6
"""So many in a row must go unanswered."""


async def hung(child: Child) -> None:
    """Returns once `child` has answered nothing for `child.silent_seconds`.

    An ask may take as long as the pause before it, seconds: a busy machine answers late, but it answers. The time of
    an ask is counted twice that at the most, so that a machine that slept, or a supervisor that was stopped itself,
    does not take the others' silence for theirs.
    """
    pause = child.silent_seconds / (2 * _ASKS)
    silent = 0.0
    while silent < child.silent_seconds:
        began = time.monotonic()
        await asyncio.sleep(pause)
        answered = await _answers(child, pause)
        silent = 0.0 if answered else silent + min(time.monotonic() - began, 2 * pause)


async def _answers(child: Child, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await child.alive()
    except TimeoutError:
        return False
