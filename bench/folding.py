"""The fold's figures as records: `bench.fold` in a process of its own, so that its memory is its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import BenchError, bench_stack

RATE, FINALISE_SECONDS, MEMORY_MB = 100_000, 60, 300
_ROOT = Path(__file__).parents[1]


def fold(plan: Plan, count: int, jobs: int, servers: str | None) -> list[Record]:
    """Folds and finalises `count` results; with `servers` through that broker, by an aggregator of its own."""
    given = ["--kafka", servers] if servers is not None else ["--jobs", str(jobs)]
    plan.tell(f"fold {count:,}", 1)
    found = _run(["--count", str(count), "--folder", str(plan.work), *given])
    what = f"{count:,} results" + (" through Kafka" if servers is not None else "")
    records = [
        record("fold", f"fold, {what}", _one(found["folds_per_cpu_second"]), "results/s", at_least=RATE, **found),
        record("fold", f"memory, {what}", _one(found["peak_mb"]), "MB", at_most=MEMORY_MB),
    ]
    if "finalise_seconds" in found:
        finalise = _one(found["finalise_seconds"])
        records.append(record("fold", f"finalise, {what}", finalise, "s", at_most=FINALISE_SECONDS))
    return records


def fold_through_kafka(plan: Plan, count: int) -> list[Record]:
    """The same on a broker of its own."""
    with bench_stack(plan.work / "fold", services=()) as bench:
        return fold(plan, count, 1, bench.kafka)


def _one(value: float) -> Runs:
    return Runs((float(value),))


def _run(arguments: list[str]) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.fold", *arguments], capture_output=True, text=True,
        env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchError(f"the fold failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer
