"""The whole pipeline, beside the loop that a user would otherwise write, run by turns."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench import load
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import DRAINING, FILLING, Bench, BenchError, Ran
from trapstream.core import json_codec
from trapstream.core.messages import ModelInfo

AGAINST_LOOP = 0.9
AGAINST_CLEAN = 0.9
_ROOT = Path(__file__).parents[1]


def against_loop(plan: Plan, bench: Bench, most: int | None = None) -> list[Record]:
    """Images a second of a whole job, those of the loop, and their ratio, measured by turns, `most` times at most."""
    uris = load.uris(plan.images, plan.say)
    sized = Sized(plan, bench, plan.model.info, uris, f"pipeline-{plan.images.label}")
    loops: list[dict[str, float]] = []
    jobs: list[Ran] = []

    def once() -> float:
        loops.append(loop(plan, uris))
        jobs.append(sized.run())
        return jobs[-1].rate / loops[-1]["rate"]

    ratios = plan.repeat(f"pipeline and loop, {plan.label}", once, most)
    label, last = plan.label, jobs[-1]
    costs = [one["cpu_ms"] / sum(job.cpu.values()) for one, job in zip(loops, jobs, strict=True)]
    return [
        record("loop", f"loop, {label}", Runs(tuple(one["rate"] for one in loops)), "images/s", **loops[-1]),
        record(
            "pipeline", f"pipeline, {label}", Runs(tuple(one.rate for one in jobs)), "images/s",
            cpu_ms={name: round(spent, 2) for name, spent in last.cpu.items()},
            memory_mb={name: round(used) for name, used in last.memory.items()},
            verdict=last.verdict.sentence if last.verdict is not None else None,
        ),
        record("pipeline", f"pipeline / loop, {label}", ratios, "x", at_least=AGAINST_LOOP),
        record("pipeline", f"loop / pipeline, processor time an image, {label}", Runs(tuple(costs)), "x"),
    ]  # fmt: skip


def with_damage(plan: Plan, bench: Bench) -> list[Record]:
    """The rate with 1 % damaged images beside that without, by turns."""
    uris = load.uris(plan.images, plan.say)
    clean = Sized(plan, bench, plan.model.info, uris, "clean")
    spoiled = load.spoiled(uris, plan.work / "spoiled", 0.01)
    bad = Sized(plan, bench, plan.model.info, spoiled, "spoiled", clean.count)
    costs: list[float] = []

    def once() -> float:
        without, given = clean.run(), bad.run()
        costs.append(sum(without.cpu.values()) / sum(given.cpu.values()))
        return given.rate / without.rate

    ratios, what = plan.repeat("1 % damaged images", once, plan.pick(2, None)), f"1 % damaged / none, {plan.label}"
    return [
        record("damage", what, ratios, "x", at_least=AGAINST_CLEAN),
        record("damage", f"{what}, by processor time", Runs(tuple(costs)), "x"),
    ]


def loop(plan: Plan, uris: list[str]) -> dict[str, float]:
    """One run of the loop in a process of its own; of the numbers of threads that may be best, the better one."""
    listed = plan.work / "loop.txt"
    listed.write_text("\n".join(uris))
    found = [_loop(plan, listed, threads) for threads in plan.pick([plan.cores], [plan.cores, plan.cores + 1])]
    return max(found, key=lambda one: one["rate"])


def _loop(plan: Plan, listed: Path, threads: int) -> dict[str, float]:
    command = [
        sys.executable, "-m", "bench.loop", str(listed), "--bundle", str(plan.model.bundle.folder),
        "--runtime", plan.model.runtime, "--threads", str(threads), "--seconds", str(plan.seconds),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    if done.returncode:
        raise BenchError(f"the loop failed: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, float] = json_codec.decode(done.stdout)
    return answer


class Sized:
    """Jobs that take about as long as a run should: the first, the warm-up, tells how many images those are, where
    `count` does not."""

    def __init__(
        self, plan: Plan, bench: Bench, model: ModelInfo, uris: list[str], name: str, count: int | None = None
    ) -> None:
        def job(count: int) -> Ran:
            return bench.run(load.write_manifest(plan.work / f"{name}.jsonl", uris, count), model)

        self._job: Callable[[int], Ran] = job
        if count is None:
            plan.progress(f"warm-up, {name}", 1)
            count = FILLING + DRAINING + int(job(FILLING + DRAINING).rate * plan.seconds)
        self.count = count
        """Images of a job."""

    def run(self) -> Ran:
        """One job."""
        return self._job(self.count)
