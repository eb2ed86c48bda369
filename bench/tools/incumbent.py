"""Trapstream beside MegaDetector's own batch script: the same checkpoint, the same photographs, by turns.

    python -m bench.tools.incumbent CHECKPOINT PHOTOS --python ENVIRONMENT/bin/python

ENVIRONMENT is one in which `pip install megadetector` was done: nothing of it is imported here. Both sides are called
as their users call them, as commands, and both files are compared, image by image.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import psutil

from bench.stacks import BenchError, environment
from bench.tools.same_answers import compare_files
from trapstream.models.agreement import CONFIDENCE
from trapstream.models.deployed import PRECISION
from trapstream.models.runtimes import ALL, has_bfloat16

WAYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "image queue": ("--use_image_queue", "--preprocess_on_image_queue"),
    "a process a core": ("--ncores", str(len(os.sched_getaffinity(0)))),
}
"""How the script can be called on a machine without a GPU."""
_FINISHED = re.compile(r"Finished inference for (\d+) images in .*\(([\d.]+) images per second\)")
_LOADED = re.compile(r"Loaded model (?:\(before queueing\) )?in ([\d.]+) (milliseconds|seconds)")
_OURS = re.compile(r"^images +([\d,]+)$.*^images/s +([\d,.]+)$", re.MULTILINE | re.DOTALL)
_MODEL = "incumbent"
_ROUNDS = 2


@dataclass(frozen=True)
class Run:
    """One call of a command."""

    images: int
    rate: float
    """Images a second, without what comes before the first image."""
    seconds: float
    """From the call to the end."""
    memory: int
    """Bytes of all its processes together at the most; what several share counts once."""


def read_script(output: str) -> tuple[int, float]:
    """How many images the script says it did, and how many a second once its model was loaded. BenchError.

    Its own figure has the loading in it. Where each process loads the model by itself nothing tells how long, and it
    stays in.
    """
    if (found := _FINISHED.search(output)) is None:
        raise BenchError(f"MegaDetector's script did not say what it did: {output.strip()[-200:]}")
    images, rate = int(found[1]), float(found[2])
    loaded = _LOADED.search(output)
    loading = float(loaded[1]) / (1000 if loaded[2] == "milliseconds" else 1) if loaded else 0.0
    return images, images / (images / rate - loading)


def read_ours(output: str) -> tuple[int, float]:
    """How many images `trapstream run` says it did, and how many a second once its stack was up. BenchError."""
    if (found := _OURS.search(output)) is None:
        raise BenchError(f"trapstream did not say what it did: {output.strip()[-200:]}")
    return int(found[1].replace(",", "")), float(found[2].replace(",", ""))


def called(command: list[str], log: Path) -> tuple[str, float, int]:
    """The output of a command, its duration in seconds, and its largest memory in bytes, looked at once a second.

    The output goes to `log` too. BenchError where it fails.
    """
    began, most = time.perf_counter(), 0
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while (status := _status(process)) is None:
                most = max(most, _memory(process.pid))
        finally:
            process.terminate()  # nothing where it has ended: it does not outlive whoever asked for it
    seconds, said = time.perf_counter() - began, log.read_text(errors="replace")
    if status:
        raise BenchError(f"{' '.join(command)} ended with {status}: {(said.strip().splitlines() or [''])[-1]}")
    return said, seconds, most


def _status(process: subprocess.Popen[bytes]) -> int | None:
    """Its exit status, waited for for a second; None while it runs."""
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        return None


def _memory(pid: int) -> int:
    """Of a process and all below it; what several share counts once."""
    total = 0
    try:
        found = psutil.Process(pid)
        below = found.children(recursive=True)
    except psutil.Error:  # it has just ended
        return 0
    for one in (found, *below):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def _turns(sides: Mapping[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Every side once a round, each round in the other order than the one before."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(_ROUNDS):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            run = sides[name]()
            runs[name].append(run)
            click.echo(
                f"{name}: {run.rate:.1f} images/s, {run.images / run.seconds:.1f} with start-up, "
                f"{run.memory / 1e6:.0f} MB",
                err=True,
            )
    return runs


@dataclass(frozen=True)
class Sides:
    """Both sides, with what they are called with."""

    checkpoint: Path
    photos: Path
    python: str
    home: Path
    work: Path
    """Where their files and logs go."""

    def script(self, way: str) -> Run:
        """MegaDetector's script, in one of WAYS."""
        module = "megadetector.detection.run_detector_batch"
        command = [self.python, "-m", module, str(self.checkpoint), str(self.photos), str(self.file(way))]
        options = ["--recursive", "--output_relative_filenames", *WAYS[way]]
        said, seconds, memory = called([*command, *options], self.file(way).with_suffix(".log"))
        return Run(*read_script(said), seconds, memory)

    def ours(self, runtime: str) -> Run:
        """`trapstream run`, which starts a stack and takes it down again."""
        self.trapstream("model", "deploy", _MODEL, "--runtime", runtime, "--unchecked")
        command = ("run", str(self.photos), "-o", str(self.file(runtime)), "--model", _MODEL)
        said, seconds, memory = self.trapstream(*command)
        return Run(*read_ours(said), seconds, memory)

    def trapstream(self, *words: str) -> tuple[str, float, int]:
        """Calls the command on a home of its own."""
        command = [sys.executable, "-m", "trapstream.cli", "--home", str(self.home), *words]
        return called(command, self.work / f"trapstream-{words[0]}.log")

    def file(self, side: str) -> Path:
        """A side's result file."""
        return self.work / f"{side.replace(' ', '-')}.json"


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("photos", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--python", required=True, type=click.Path(exists=True, dir_okay=False), help="That has megadetector.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep files and logs here.")
def main(checkpoint: Path, photos: Path, python: str, keep: Path | None) -> None:
    """Measure both sides on the same checkpoint and photographs, and compare their answers."""
    chosen = tuple(each for each in ALL if PRECISION[each] == "float32" or has_bfloat16())
    with tempfile.TemporaryDirectory(prefix="trapstream-incumbent-") as temporary, environment({}):
        work = keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        sides = Sides(checkpoint, photos, python, Path(temporary) / "home", work)
        sides.trapstream("model", "import", str(checkpoint), "--name", _MODEL)
        calls = {way: partial(sides.script, way) for way in WAYS} | {each: partial(sides.ours, each) for each in chosen}
        runs = _turns(calls)
        rates = {name: statistics.median(run.rate for run in each) for name, each in runs.items()}
        walls = {name: statistics.median(run.images / run.seconds for run in each) for name, each in runs.items()}
        rival, quickest = max(WAYS, key=lambda way: rates[way]), max(WAYS, key=lambda way: walls[way])
        click.echo("side | images/s | of the script's best | with start-up | of the script's best | MB at the most")
        for name, each in runs.items():
            memory = max(run.memory for run in each) / 1e6
            ratio, whole = rates[name] / rates[rival], walls[name] / walls[quickest]
            click.echo(f"{name} | {rates[name]:.1f} | {ratio:.2f} | {walls[name]:.1f} | {whole:.2f} | {memory:.0f}")
        for runtime in chosen:
            found = compare_files(sides.file("default"), sides.file(runtime), CONFIDENCE[PRECISION[runtime]])
            click.echo(f"{runtime}: {found.sentence}")


if __name__ == "__main__":
    main()
