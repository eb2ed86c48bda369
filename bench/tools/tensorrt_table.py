"""A TensorRT plan on this machine's GPU: `python -m bench.tools.tensorrt_table NAME[@VERSION] --triton HOST:PORT`.

Builds the plan as `trapstream model build` does, or finds it, and prints a table for
docs/contributors/model-tests.md: images a second of the plan alone, by NVIDIA's `trtexec`, and through the Triton that
serves it. With Triton it first holds the answers against the model's original. It was never run on a GPU; what needs
none is tested.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.triton_alone import closed_loop
from trapstream.core.errors import TrapstreamError
from trapstream.local.home import default_home
from trapstream.models import bundle_store, tensorrt
from trapstream.models.bundle_store import Bundle
from trapstream.models.check import check_bundle, in_triton
from trapstream.models.pictures import drawn
from trapstream.models.plan_key import PlanKey, Profile, Shape
from trapstream.models.tensorrt_plan import Plan, build

_SECONDS = 10
_IN_FLIGHT = 4
"""Requests at any time: two for each of the entry's instances."""
_TRTEXEC = "/usr/src/tensorrt/bin"
"""Where the server's image keeps it, which is on no path there."""


class NotMeasuredError(TrapstreamError):
    """Something is missing for the table. One line that says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table. Returns 1, with one line, where it cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="NAME[@VERSION]")
    parser.add_argument("--home", type=Path, default=None, help="the state folder with the model and its plans")
    parser.add_argument("--triton", metavar="HOST:PORT", help="gRPC of a Triton on this machine that serves the plan")
    parser.add_argument("--batch", type=int, default=32, help="the plan's largest batch")
    chosen = parser.parse_args(arguments)
    home = chosen.home or default_home()
    try:
        bundle, compiler = bundle_store.find(home, chosen.model), tensorrt.here()
        began = time.monotonic()
        plan = build(home, bundle, compiler, chosen.batch)
        took = f"built in {time.monotonic() - began:.0f} s" if plan.built else "was there"
        print(
            f"{bundle.label}, {bundle.card.precision}; TensorRT {compiler.version} on {compiler.gpu.name}; plan {took}"
        )
        if chosen.triton:
            print(agreement(bundle, chosen.triton))
        for line in table(plan, bundle, chosen.triton):
            print(line, flush=True)
    except TrapstreamError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def shapes(key: PlanKey) -> list[tuple[int, Shape]]:
    """The shapes to measure: each profile of one size, by its number, with one image, eight, and the most."""
    exact: list[tuple[int, Profile]] = [(n, each) for n, each in enumerate(key.profiles) if each.exact]
    return [
        (number, (batch, *profile.tuned[1:]))
        for number, profile in exact
        for batch in sorted({1, min(8, profile.largest[0]), profile.largest[0]})
    ]


def table(plan: Plan, bundle: Bundle, server: str | None) -> list[str]:
    """The lines of the table. NotMeasuredError without trtexec."""
    lines = ["| input | batch | images/s of the plan | images/s through Triton |", "|---|---|---|---|"]
    for number, shape in shapes(plan.key):
        served = f"{through(bundle, server, shape):.0f}" if server else "not asked"
        lines.append(f"| {shape[2]} x {shape[1]} | {shape[0]} | {of_plan(plan.path, number, shape):.0f} | {served} |")
    return lines


def agreement(bundle: Bundle, server: str) -> str:
    """One line: how far the plan's answers are from the original's. NotMeasuredError where too far."""
    sides = [in_triton(server, bundle.card)]
    row = check_bundle(bundle.folder, bundle.card.precision, drawn(bundle.card), sides).rows[1]
    if row.offending:
        image, fault = row.offending
        raise NotMeasuredError(f"{bundle.label} fails the check in {row.side}, {image}: {fault}")
    box, confidence = row.worst("box")[0], row.worst("confidence")[0]
    return f"{row.side}: {row.compared} detections compared; differences up to {box:.5f} and {confidence:.4f}"


def of_plan(path: Path, profile: int, shape: Shape) -> float:
    """Images a second of the plan alone, its copies to and from the GPU included."""
    program = shutil.which("trtexec") or shutil.which("trtexec", path=_TRTEXEC)
    if program is None:
        raise NotMeasuredError("trtexec is not here: it is in Triton's own image, in /usr/src/tensorrt/bin")
    dims = "x".join(map(str, shape))
    command = [program, f"--loadEngine={path}", f"--useProfile={profile}", f"--shapes=images:{dims}"]
    ran = subprocess.run(
        [*command, f"--duration={_SECONDS}"], capture_output=True, text=True, errors="replace", check=False
    )
    return shape[0] * runs_per_second(ran.stdout + ran.stderr)


def runs_per_second(said: str) -> float:
    """The rate that trtexec measured. NotMeasuredError with its last line where it measured none."""
    found = re.search(r"Throughput: ([\d.]+) qps", said)
    if found is None:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise NotMeasuredError(f"trtexec gives no throughput; it says {last!r}")
    return float(found[1])


def through(bundle: Bundle, server: str, shape: Shape, seconds: float = _SECONDS) -> float:
    """Images a second of a closed loop of requests of this shape, in shared memory."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return asyncio.run(closed_loop(server, bundle.card.info, pixels, _IN_FLIGHT, seconds)).rate


if __name__ == "__main__":
    sys.exit(main())
