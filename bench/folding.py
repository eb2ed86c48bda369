"""The fold's figures as records: `bench.fold` in a process of its own, so that its memory is its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.stacks import BenchError

RATE, FINALISE_SECONDS, MEMORY_MB = 100_000, 60, 300
_ROOT = Path(__file__).parents[1]


def fold(plan: Plan, count: int, jobs: int, servers: str | None, in_process: bool) -> list[Record]:
    """Folds and finalises `count` results of `jobs` jobs: through a Kafka of its own or the one at `servers`, or
    without any."""
    given = ["--count", str(count), "--jobs", str(jobs), "--folder", str(plan.work)]
    given += ["--in-process"] if in_process else ["--kafka", servers] if servers is not None else []
    plan.tell(f"fold {count:,}", 1)
    found = _run(given)
    what = f"{count:,} results of {jobs:,} job{'s' * (jobs > 1)}" + (", store alone" if in_process else "")
    rate = _one(found["folds_per_cpu_second"])
    finalise = _one(found["finalise_seconds" if in_process else "end_seconds"])
    records = [
        record("fold", f"fold, processor time, {what}", rate, "results/s", at_least=RATE, **found),
        record("fold", f"last fold to file, {what}", finalise, "s", at_most=FINALISE_SECONDS),
    ]
    if not in_process:  # else it is that of the process that makes the results, too
        records.append(record("fold", f"memory, {what}", _one(found["peak_mb"]), "MB", at_most=MEMORY_MB))
    return records


def _one(value: float) -> Runs:
    return Runs((float(value),))


def _run(arguments: list[str]) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.fold", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise BenchError(f"the fold failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer
