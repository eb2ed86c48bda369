"""Uploads while processes are killed at random: `python -m bench.tools.arrivals --uploads 2000 --kills 60`.

Every image that was answered with 2xx must be in exactly one file of its series, once, and must come to a listener of
the series and to a webhook, at least once and as it is in the file. It has a home and a stack of its own, with short
periods, so that jobs are sealed and followed by others all the time. Each image is sent again until it is answered,
as a camera would; some are sent once more after that. Exit status 1 if one is lost, doubled or not delivered; then the
home stays, with all logs.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

from bench.tools import chaos_model
from bench.tools.arrivals_account import Account, check
from bench.tools.arrivals_listen import listen, receiving
from bench.tools.chaos_stack import COPIES, ChaosError, Stack, concluded
from trapstream.core import log, status
from trapstream.core.messages import JobSpec, JobState
from trapstream.core.states import ENDED
from trapstream.local import control

WEIGHTS = {"producer": 35, "consumer": 20, "aggregator": 20, "notifier": 25}
"""How often each kind is killed, in a hundred."""
_SERIES = ("ridge", "valley")
_TOGETHER = 4
"""Uploads at once."""
_AGAIN = 0.1
"""Share of the images that are sent once more after their answer."""
_END_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run."""

    uploads: int
    kills: int
    seed: int
    seconds: float
    """Over which the uploads are spread, at least."""
    period: int = 20
    """Seconds of a job. An image must be answered within two of them, or it counts as another one."""


async def run(plan: Plan, home: Path, say: Callable[[str], None] = print) -> Account:
    """The whole run. ChaosError if a job does not end or a process does not come back."""
    began = time.monotonic()
    chaos_model.write_bundle(home / "bundle")
    account, stack = Account(), Stack(home)
    try:
        await stack.up()
        async with receiving(account.webhook) as hook, asyncio.TaskGroup() as listeners:
            listening = [listeners.create_task(listen(stack, series, account.stream)) for series in _SERIES]
            await _uploaded(plan, stack, hook, account, say)
            say(f"{len(account.answered):,} images answered after {time.monotonic() - began:.0f} s")
            check(home, await _ended(stack, account), account)
            await _delivered(account)
            for each in listening:
                each.cancel()
    finally:
        await asyncio.to_thread(control.down, home, lambda _: None)
        account.seconds = time.monotonic() - began
    return account


async def _uploaded(plan: Plan, stack: Stack, hook: str, account: Account, say: Callable[[str], None]) -> None:
    """All uploads, with the kills beside them."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    for number in range(plan.uploads):
        queue.put_nowait(number)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(_kill(plan, stack, account, queue, say))
        for _ in range(_TOGETHER):
            tasks.create_task(_upload(plan, stack, session, hook, queue, account))


async def _delivered(account: Account) -> None:
    """Waits until the listeners and the webhook have all that the files have; what they lack then is missing."""
    for received in account.ways:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await received.all_of(account.entries.keys())
        received.hold_against(account.entries)


async def _kill(
    plan: Plan, stack: Stack, account: Account, queue: "asyncio.Queue[int]", say: Callable[[str], None]
) -> None:
    """One kill after the other, spread over the uploads."""
    chance = random.Random(plan.seed)
    async with asyncio.timeout(_END_SECONDS):
        await account.stream.all_begun(len(_SERIES))
    for _ in range(plan.kills):
        await asyncio.sleep(chance.uniform(0, 2 * plan.seconds / plan.kills))
        if queue.empty():
            return
        (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        number = chance.randrange(COPIES.get(kind, 1))
        name = f"{kind}-{number}" if number else kind
        await stack.kill(name)
        account.kills[name] += 1
        say(f"{time.strftime('%H:%M:%S')} kill {account.kills.total()}: {name}, {len(account.answered):,} answered")


async def _upload(
    plan: Plan, stack: Stack, session: aiohttp.ClientSession, hook: str, queue: "asyncio.Queue[int]", account: Account
) -> None:
    while not queue.empty():
        number = queue.get_nowait()
        name, data = f"{number:06}.jpg", image(number)
        query = {"job": _SERIES[number % len(_SERIES)], "file": name, "webhook": hook}
        began = time.monotonic()
        job = await _answered(stack, session, query, data, account)
        account.slowest = max(account.slowest, time.monotonic() - began)
        account.answered[name] = job
        if random.Random(f"{plan.seed} {number}").random() < _AGAIN:
            again = await _answered(stack, session, query, data, account)
            if again != job:
                account.wrong.append(f"{name} was in {job}, and then in {again}")
        await asyncio.sleep(max(0.0, began + plan.seconds * _TOGETHER / plan.uploads - time.monotonic()))


async def _answered(
    stack: Stack, session: aiohttp.ClientSession, query: dict[str, str], data: bytes, account: Account
) -> str:
    """Sends an image until it is answered with 2xx; the job that it is in."""
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        found = control.running(stack.home)
        try:
            if found is None:
                raise ChaosError("the stack is gone")
            url = f"http://{found.endpoints['api']}/v1/images"
            async with session.post(url, params=query, data=data) as answer:
                if answer.status in (200, 202):
                    [taken] = (await answer.json())["images"]
                    account.repeated += taken["repeated"]
                    return str(taken["job"])
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        account.refused += 1
        await asyncio.sleep(0.1)
    raise ChaosError(f"{query['file']} was not taken within {_END_SECONDS:.0f} s")


def image(number: int) -> bytes:
    """A small image that no other number gives."""
    return chaos_model.jpeg(np.random.default_rng(number).integers(0, 256, (6, 8, 3)))


async def _ended(stack: Stack, account: Account) -> list[JobSpec]:
    """The jobs of the series, once all of them are complete."""
    deadline = time.monotonic() + _END_SECONDS
    wanted = set(account.answered.values())
    while time.monotonic() < deadline:
        specs = {job: spec for job, spec in (await status.read_specs(stack.kafka)).items() if spec.series is not None}
        statuses = await status.read_all(stack.kafka)
        if wanted <= specs.keys() and all(statuses[job].state in ENDED for job in specs):
            bad = [f"{job} is {statuses[job].state}" for job in specs if statuses[job].state is not JobState.COMPLETED]
            account.wrong += bad
            account.jobs = len(specs)
            return list(specs.values())
        await asyncio.sleep(1.0)
    raise ChaosError(f"not all jobs ended within {_END_SECONDS:.0f} s; {sorted(wanted - specs.keys())} are unknown")


def main() -> int:
    """The command. 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(
        description="Uploads while processes are killed: none lost, none doubled, all delivered."
    )
    parser.add_argument("--uploads", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=240.0, help="over which the uploads are spread")
    parser.add_argument("--period", type=int, default=Plan.period, help="seconds of a job")
    arguments = parser.parse_args()
    log.setup(level="error")
    plan = Plan(**vars(arguments))
    home = Path(tempfile.mkdtemp(prefix="trapstream-arrivals-"))
    print(f"seed {plan.seed}: {plan.uploads:,} uploads, {plan.kills} kills, home {home}", flush=True)
    settings = {
        "TRAPSTREAM_LIVE_MODEL": chaos_model.NAME,
        "TRAPSTREAM_LIVE_PERIOD_SECONDS": str(plan.period),
        "TRAPSTREAM_ALLOW_PRIVATE_WEBHOOKS": "true",  # the receiver is on this machine
    }
    return concluded(run(plan, home, lambda line: print(line, flush=True)), home, settings)


if __name__ == "__main__":
    sys.exit(main())
