"""Uploads while processes are killed at random: `python -m bench.arrivals --uploads 2000 --kills 60`.

Every image that was answered with 2xx must be in exactly one file of its series, once. It has a home and a stack of
its own, with short periods, so that jobs are sealed and followed by others all the time. Each image is sent again until
it is answered, as a camera would; some are sent once more after that. Exit status 1 if one is lost or doubled; then the
home stays, with all logs.
"""

import argparse
import asyncio
import io
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
from PIL import Image

from aggregator.read_result import open_result
from aggregator.verify import disagreements
from aggregator.verify import verify as verified
from bench import chaos_model
from bench.chaos import ChaosError, Stack, concluded, set_up
from trapstream.core import log, status, store
from trapstream.core.messages import JobSpec, JobState
from trapstream.core.states import ENDED
from trapstream.local import control

WEIGHTS = {"producer": 40, "consumer": 30, "aggregator": 30}
"""How often each kind is killed, in a hundred."""
COPIES = {"consumer": 2, "aggregator": 2}
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


@dataclass
class Account:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    answered: dict[str, str] = field(default_factory=dict)
    """Name of each image that was answered with 2xx, to the job that it was given a place in."""
    refused: int = 0
    """Attempts without an answer of 2xx."""
    repeated: int = 0
    """Answers that named a place which the image had already."""
    jobs: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What `verify` says of the files."""
    slowest: float = 0.0
    """Seconds from the first attempt at an image to its 2xx."""
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """The account for people."""
        return [
            f"kills        {self.kills.total()}: " + ", ".join(f"{k} {n}" for k, n in sorted(self.kills.items())),
            f"answered     {len(self.answered):,} images with 2xx, {self.repeated:,} of the answers for a second time",
            f"attempts     {self.refused:,} more, refused or cut off; the slowest image took {self.slowest:.1f} s",
            f"jobs         {self.jobs}",
            f"lost         {len(self.lost)}",
            f"doubled      {len(self.doubled)}",
            f"unknown      {len(self.unknown)}",
            f"time         {self.seconds:.0f} s",
            *self.wrong,
        ]

    @property
    def well(self) -> bool:
        """Whether every promise held."""
        return not (self.lost or self.doubled or self.unknown or self.wrong)


async def run(plan: Plan, home: Path, say: Callable[[str], None] = print) -> Account:
    """The whole run. ChaosError if a job does not end or a process does not come back."""
    began = time.monotonic()
    chaos_model.write_bundle(home / "bundle")
    set_up(home, COPIES["consumer"], COPIES["aggregator"])
    os.environ["TRAPSTREAM_LIVE_MODEL"] = chaos_model.NAME
    os.environ["TRAPSTREAM_LIVE_PERIOD_SECONDS"] = str(plan.period)
    account, stack = Account(), Stack(home)
    try:
        await stack.up()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            queue: asyncio.Queue[int] = asyncio.Queue()
            for number in range(plan.uploads):
                queue.put_nowait(number)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_kill(plan, stack, account, queue, say))
                for _ in range(_TOGETHER):
                    tasks.create_task(_upload(plan, stack, session, queue, account))
        say(f"{len(account.answered):,} images answered after {time.monotonic() - began:.0f} s")
        specs = await _ended(stack, account)
        _check(home, specs, account)
    finally:
        await asyncio.to_thread(control.down, home, lambda _: None)
        account.seconds = time.monotonic() - began
    return account


async def _kill(
    plan: Plan, stack: Stack, account: Account, queue: "asyncio.Queue[int]", say: Callable[[str], None]
) -> None:
    """One kill after the other, spread over the uploads."""
    chance = random.Random(plan.seed)
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
    plan: Plan, stack: Stack, session: aiohttp.ClientSession, queue: "asyncio.Queue[int]", account: Account
) -> None:
    while not queue.empty():
        number = queue.get_nowait()
        name, series, data = f"{number:06}.jpg", _SERIES[number % len(_SERIES)], image(number)
        began = time.monotonic()
        job = await _answered(stack, session, series, name, data, account)
        account.slowest = max(account.slowest, time.monotonic() - began)
        account.answered[name] = job
        if random.Random(f"{plan.seed} {number}").random() < _AGAIN:
            again = await _answered(stack, session, series, name, data, account)
            if again != job:
                account.wrong.append(f"{name} was in {job}, and then in {again}")
        await asyncio.sleep(max(0.0, began + plan.seconds * _TOGETHER / plan.uploads - time.monotonic()))


async def _answered(
    stack: Stack, session: aiohttp.ClientSession, series: str, name: str, data: bytes, account: Account
) -> str:
    """Sends an image until it is answered with 2xx; the job that it is in."""
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        found = control.running(stack.home)
        try:
            if found is None:
                raise ChaosError("the stack is gone")
            url = f"http://{found.endpoints['api']}/v1/images"
            async with session.post(url, params={"job": series, "file": name}, data=data) as answer:
                if answer.status in (200, 202):
                    [place] = (await answer.json())["images"]
                    account.repeated += place["repeated"]
                    return str(place["job"])
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        account.refused += 1
        await asyncio.sleep(0.1)
    raise ChaosError(f"{name} was not taken within {_END_SECONDS:.0f} s")


def image(number: int) -> bytes:
    """A small image that no other number gives."""
    random_ = np.random.default_rng(number)
    pixels = random_.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((64, 48)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


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


def _check(home: Path, specs: list[JobSpec], account: Account) -> None:
    """Holds the files against the answers, and each against its manifest."""
    seen: Counter[str] = Counter()
    for spec in specs:
        path, manifest = store.result_path(home / "results", spec.job), store.manifest_path(home / "results", spec.job)

        def lines(manifest: Path = manifest) -> list[str]:
            return [line.file for line in store.read_manifest(manifest)]

        found = verified(path, lines)
        account.wrong += [f"{spec.job}: {text}" for text in disagreements(found, open_result(path))]
        if not found.complete:
            account.wrong.append(f"{spec.job}: {found}")
        seen.update(entry["file"] for entry in msgspec.json.decode(path.read_bytes())["images"])
    account.lost = sorted(name for name in account.answered if not seen[name])
    account.doubled = sorted(name for name, count in seen.items() if count > 1)
    account.unknown = sorted(name for name in seen if name not in account.answered)


def main() -> int:
    """The command. 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(description="Uploads while processes are killed: none lost, none doubled.")
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
    return concluded(run(plan, home, lambda line: print(line, flush=True)), home)


if __name__ == "__main__":
    sys.exit(main())
