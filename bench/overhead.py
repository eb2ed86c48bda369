"""The cost of the system itself: processor time an image, and memory over time."""

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

from bench import load, stages
from bench.load import Images
from bench.pipeline import Sized
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import Bench, Ran
from trapstream.core import status as statuses
from trapstream.core.messages import ModelInfo

MICROSECONDS = 400
GROWTH = 1.05
_SIZE = Images(size=(640, 480), count=8, quality=50)


def overhead(plan: Plan, bench: Bench) -> list[Record]:
    """Processor time of an image of 640 x 480 in all processes, with a model that costs nothing, without its decoding.

    The cost of the decoding is measured by itself, on the same images, and subtracted.
    """
    model = bench.load_model("free", 0.0)
    small = replace(plan, images=_SIZE)
    decoding = stages.decode(small, model)[1]
    sized = Sized(small, bench, model, load.uris(_SIZE, plan.say), "overhead")
    jobs: list[Ran] = []

    def once() -> float:
        jobs.append(sized.run())
        return 1000 * (sum(jobs[-1].cpu.values()) - decoding.value)

    runs = small.repeat("overhead", once, plan.pick(2, None))
    last = jobs[-1]
    return [
        record(
            "overhead", "processor time outside decode and model, 640 x 480", runs, "us/image", at_most=MICROSECONDS,
            decode_us=round(1000 * decoding.value), images_per_second=round(last.rate),
            cpu_us={name: round(1000 * spent) for name, spent in last.cpu.items()},
            verdict=last.verdict.sentence if last.verdict is not None else None,
        )
    ]  # fmt: skip


def memory(plan: Plan, bench: Bench) -> list[Record]:
    """Each process's memory in the last tenth of a job's images against the first."""
    model, count = bench.load_model("free", 0.0), plan.pick(5_000, 100_000)
    uris = load.uris(Images(size=(128, 96), count=8), plan.say)
    plan.progress(f"memory over {count:,} images", 1)
    bench.run(load.write_manifest(plan.work / "memory-warm.jsonl", uris, 1_000), model)
    manifest = load.write_manifest(plan.work / "memory.jsonl", uris, count)
    seen = asyncio.run(_memory(bench, manifest, model, count))
    found = []
    for name in seen[0][1]:
        first = [used[name] for done, used in seen if done <= 0.1 * count and name in used]
        last = [used[name] for done, used in seen if done >= 0.9 * count and name in used]
        if first and last:
            growth = (sum(last) / len(last)) / (sum(first) / len(first))
            found.append(
                record(
                    "memory", f"memory of {name}, last / first tenth of {count:,} images", Runs((growth,)), "x",
                    at_most=GROWTH, mb=round(sum(last) / len(last) / 1e6),
                )
            )  # fmt: skip
    return found


async def _memory(bench: Bench, manifest: Path, model: ModelInfo, count: int) -> list[tuple[int, dict[str, int]]]:
    spec, seen = await bench.submit(manifest, model), []
    looked = 0.0
    async with contextlib.aclosing(statuses.watch(bench.kafka, spec.job)) as found:
        async for status in found:
            if time.monotonic() - looked > 0.2 and status.counts.done:
                looked = time.monotonic()
                seen.append((status.counts.done, bench.memory()))
            if status.counts.done >= count:
                break
    return seen
