"""Kills processes of a stack at random moments and compares each job's file: `python -m bench.tools.chaos --kills 200`.

It has a home and a stack of its own. The seed decides who is killed after how long; what each process does at that
moment is chance. Exit status 1 if a byte differs or a job does not end; then the home stays, with all logs.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from bench.tools import chaos_model
from bench.tools.chaos_stack import COPIES, ChaosError, Stack, concluded
from trapstream.core import json_codec, kafka, log, topics
from trapstream.core import status as statuses
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec, JobState, JobStatus, Lane, ModelInfo
from trapstream.core.result_store import result_path
from trapstream.jobs.submit import submit
from trapstream.local import control

WEIGHTS = {
    "consumer": 28, "aggregator": 28, "producer": 14, "instance": 12, "triton": 8, "kafka": 6, "supervisor": 4,
}  # fmt: skip
"""How often each kind is killed, in a hundred. An instance is a process of the model, inside Triton."""
_STALL_SECONDS = 240.0
"""A job that gets no further for so long does not end."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run."""

    kills: int
    images: int
    """Of each job."""
    seed: int
    gap: float = 2.0
    """Mean seconds between two kills."""


@dataclass
class Account:
    """The account of one run."""

    kills: Counter[str] = field(default_factory=Counter)
    """By process."""
    jobs: int = 0
    images: int = 0
    repeated: int = 0
    """Results that came a second time, by the jobs' last statuses."""
    differing: int = 0
    """Bytes."""
    dead_letters: int = 0
    repaired: int = 0
    """Images that repair published again. Kills lose none, so each one hides a fault."""
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """The account for people."""
        share = 100 * self.repeated / max(1, self.images)
        return [
            f"kills            {self.kills.total()}: " + ", ".join(f"{k} {n}" for k, n in sorted(self.kills.items())),
            f"jobs             {self.jobs}, {self.images:,} images",
            f"done twice       {self.repeated:,} images ({share:.2f} %)",
            f"differing bytes  {self.differing:,}",
            f"dead letters     {self.dead_letters:,}",
            f"repaired         {self.repaired:,} images",
            f"time             {self.seconds:.0f} s",
        ]

    @property
    def well(self) -> bool:
        """Whether every promise held."""
        return not self.differing and not self.dead_letters and not self.repaired


async def run(plan: Plan, home: Path, say: Callable[[str], None] = print) -> Account:
    """The whole run. ChaosError if a job does not end or a process does not come back."""
    began = time.monotonic()
    model = chaos_model.write_bundle(home / "bundle")
    manifest = chaos_model.write_images(home / "images", plan.images)
    account, stack = Account(), Stack(home)
    try:
        await stack.up()
        undisturbed = await _job(stack, manifest, model, Lane.BULK)
        wanted = result_path(home / "results", undisturbed.job).read_bytes()
        say(f"undisturbed: {plan.images:,} images, {len(wanted):,} bytes, {time.monotonic() - began:.0f} s")
        over = asyncio.Event()
        async with asyncio.TaskGroup() as together:
            together.create_task(_kill(plan, stack, account, over, say))
            for lane in Lane:
                together.create_task(_jobs(stack, manifest, model, lane, wanted, account, over, say))
        account.dead_letters = await _dead_letters(stack.kafka)
        account.repaired = _repaired(home)
    finally:
        await asyncio.to_thread(control.down, home, lambda _: None)
        account.seconds = time.monotonic() - began
    return account


def victims(plan: Plan) -> Iterator[tuple[float, str]]:
    """Seconds to wait, and the process to kill then: the same for the same seed, for ever."""
    chance = random.Random(plan.seed)
    while True:
        (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        number = chance.randrange(COPIES.get(kind, 1))
        yield chance.uniform(0, 2 * plan.gap), f"{kind}-{number}" if number else kind


async def _kill(plan: Plan, stack: Stack, account: Account, over: asyncio.Event, say: Callable[[str], None]) -> None:
    for delay, name in itertools.islice(victims(plan), plan.kills):
        await asyncio.sleep(delay)
        await stack.kill(name)
        account.kills[name] += 1
        say(f"{time.strftime('%H:%M:%S')} kill {account.kills.total()}: {name}")
    over.set()


async def _jobs(
    stack: Stack,
    manifest: Path,
    model: ModelInfo,
    lane: Lane,
    wanted: bytes,
    account: Account,
    over: asyncio.Event,
    say: Callable[[str], None],
) -> None:
    """One job after the other until the kills are over, each compared with the undisturbed one."""
    while not over.is_set():
        began = time.monotonic()
        status = await _job(stack, manifest, model, lane)
        differing = _differing(result_path(stack.home / "results", status.job).read_bytes(), wanted)
        account.jobs += 1
        account.images += status.counts.done
        account.repeated += status.repeated
        account.differing += differing
        verdict = f"{differing} BYTES DIFFER" if differing else "the same bytes"
        say(
            f"{time.strftime('%H:%M:%S')} job {status.job}: {verdict}, {status.repeated:,} images twice, "
            f"{time.monotonic() - began:.0f} s"
        )


async def _job(stack: Stack, manifest: Path, model: ModelInfo, lane: Lane) -> JobStatus:
    """Submits the manifest and waits for the job's end."""
    spec = await _submitted(stack, manifest, model, lane)
    done = 0
    try:
        async with asyncio.timeout(_STALL_SECONDS) as stall:
            while True:
                with contextlib.suppress(KafkaError):  # the broker was killed
                    async for status in statuses.watch(stack.kafka, spec.job):
                        if status.counts.done != done:
                            done = status.counts.done
                            stall.reschedule(asyncio.get_running_loop().time() + _STALL_SECONDS)
                    if status.state is JobState.COMPLETED:
                        return status
                    raise ChaosError(f"job {spec.job} ended as {status.state}: {status.message}")
                await asyncio.sleep(1.0)
    except TimeoutError:
        raise ChaosError(f"job {spec.job} stays at {done:,} of {spec.images:,} images") from None


async def _submitted(stack: Stack, manifest: Path, model: ModelInfo, lane: Lane) -> JobSpec:
    deadline = time.monotonic() + _STALL_SECONDS
    while True:
        try:
            return await submit(
                stack.kafka, stack.home / "results", [str(manifest)], name=f"chaos-{lane}", lane=lane, model=model,
                threshold=0.005,
            )  # fmt: skip
        except Retryable as error:  # the broker was killed; a job that it took all the same does no harm
            if time.monotonic() > deadline:
                raise ChaosError(f"no job could be submitted: {error}") from error


def _differing(found: bytes, wanted: bytes) -> int:
    if found == wanted:
        return 0
    pairs = itertools.zip_longest(found, wanted)
    return sum(one != other for one, other in pairs)


def _repaired(home: Path) -> int:
    lines = (line for path in (home / "logs").glob("aggregator*") for line in path.open(errors="replace"))
    return sum(int(json_codec.decode(line)["images"]) for line in lines if '"event": "repair"' in line)


async def _dead_letters(servers: str) -> int:
    consumer = kafka.Consumer(bootstrap_servers=servers)
    await consumer.start()
    try:
        part = TopicPartition(topics.DEAD_LETTERS.name, 0)
        return int((await consumer.end_offsets([part]))[part])
    finally:
        await consumer.stop()


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=20_000, help="of each job")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gap", type=float, default=2.0, help="mean seconds between two kills")
    plan = Plan(**vars(parser.parse_args()))
    home = Path(tempfile.mkdtemp(prefix="trapstream-chaos-"))
    log.setup(level="error")  # a broker that is away is what this is about
    print(f"seed {plan.seed}: {plan.kills} kills, jobs of {plan.images:,} images, home {home}", flush=True)
    return concluded(run(plan, home, lambda line: print(line, flush=True)), home)


if __name__ == "__main__":
    sys.exit(main())
