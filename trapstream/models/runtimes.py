"""Which runtime serves a bundle best on this machine without a GPU: the fastest of those that pass the check."""

from __future__ import annotations

import multiprocessing
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from model_repository.templates.cpu import model as served
from trapstream.core.errors import TrapstreamError
from trapstream.models.agreement import ENOUGH, FLOOR, Rows
from trapstream.models.bundle_store import Bundle
from trapstream.models.check import Picture, Row, Side, check, rows_of
from trapstream.models.deployed import PRECISION, Runtime
from trapstream.models.original import Pixels, open_original
from trapstream.models.pictures import drawn

ALL: tuple[Runtime, ...] = ("onnxruntime", "openvino", "openvino-bfloat16")
"""A later one is chosen only where it is faster by MARGIN: the choice must not depend on the load of the moment."""
MARGIN = 1.1
SECONDS = 4.0
"""For timing, of all runtimes together; each picture runs twice through each, however long it takes."""
_TIMED = 3
"""So many of the pictures are timed; all of them are compared."""
_MOST_SAID = 300
"""Characters of what a runtime says: some tell their whole stack."""
_PATIENCE = 900.0
"""Seconds for everything: a large model on few cores takes ten for an image."""


class NoRuntime(TrapstreamError):
    """None of those that were tried passes the check. One line that says what is wrong with each."""


@dataclass(frozen=True)
class Trial:
    """How one runtime did."""

    runtime: Runtime
    images_per_second: float
    """Of one instance; 0 where it did not run."""
    agrees: bool
    fault: str = ""
    """Why it is not to be used, in words."""


@dataclass(frozen=True)
class Choice:
    """The runtime to serve with, and how all of them did."""

    runtime: Runtime
    trials: tuple[Trial, ...]

    @property
    def why(self) -> str:
        """One line for the user: which, by how much, and how all of them did."""
        first = self.trials[0]
        chosen = next(trial for trial in self.trials if trial.runtime == self.runtime)
        faster = ""
        if chosen is not first and first.images_per_second:
            faster = f", {chosen.images_per_second / first.images_per_second:.2f} times as fast as {first.runtime}"
        return f"{self.runtime} runs it{faster}: " + "; ".join(map(_words, self.trials))


def choose(
    bundle: Bundle,
    threads: int,
    among: Sequence[Runtime] = ALL,
    seconds: float = SECONDS,
    pictures: Sequence[Picture] = (),
) -> Choice:
    """Times the runtimes, with `threads` threads, and holds each against the bundle's original.

    On `pictures`, else on a few drawn scenes. They run in a process of their own, by turns, so that the load of the
    machine is the same for all. Blocks for some seconds, longer for large models. Raises NoRuntime where none passes,
    NoOriginal where there is nothing to hold them against.
    """
    pictures = pictures or list(drawn(bundle.card))
    tried = _in_a_process(bundle.graph, tuple(among), threads, [each.pixels for each in pictures], seconds)
    sides = [_replaying(runtime, bundle, outcome, pictures_of=len(pictures)) for runtime, outcome in tried.items()]
    report = check(open_original(bundle.folder), sides, pictures)
    trials = tuple(
        judged(runtime, 1 / outcome.seconds if outcome.seconds else 0.0, row, outcome.error)
        for (runtime, outcome), row in zip(tried.items(), report.rows, strict=True)
    )
    best = fastest(trials)
    if best is None:
        raise NoRuntime(f"{bundle.label} fails the check: {'; '.join(map(_words, trials))}")
    return Choice(best.runtime, trials)


def fastest(trials: Sequence[Trial]) -> Trial | None:
    """The one to use of those that agree with the original; None where none does."""
    best: Trial | None = None
    for trial in trials:
        if trial.agrees and (best is None or trial.images_per_second > best.images_per_second * MARGIN):
            best = trial
    return best


def judged(runtime: Runtime, images_per_second: float, row: Row, error: str = "") -> Trial:
    """What a check's row says of a runtime. One of lower precision agrees only where there was enough to see."""
    image, fault = row.offending or ("", "")
    fault = error or (f"{image}: {fault}" if fault else "")
    if not fault and PRECISION[runtime] != "float32" and row.sure < ENOUGH:
        fault = f"{row.sure} detections above {FLOOR} in all images, fewer than {ENOUGH}: too few to show it"
    return Trial(runtime, images_per_second, not fault, fault)


@dataclass(frozen=True)
class _Outcome:
    """What the process says of one runtime."""

    seconds: float = 0.0
    """For one image."""
    answers: tuple[Rows, ...] = ()
    error: str = ""


def _replaying(runtime: Runtime, bundle: Bundle, outcome: _Outcome, pictures_of: int) -> Side:
    """The answers that a runtime gave, in the order of the pictures, as a side of a check."""
    answers = iter(outcome.answers)

    def answer(_: Pixels) -> Rows:
        if len(outcome.answers) != pictures_of:
            raise RuntimeError(outcome.error)
        return next(answers)

    precision = PRECISION[runtime] if bundle.card.precision == "float32" else bundle.card.precision
    return Side(runtime, precision, answer)


def _words(trial: Trial) -> str:
    line = f"{trial.runtime} {trial.images_per_second:.3g} images/s" if trial.images_per_second else trial.runtime
    return line if trial.agrees else f"{line}, not to be used ({trial.fault})"


def _in_a_process(
    graph: Path, runtimes: tuple[Runtime, ...], threads: int, pictures: list[Pixels], seconds: float
) -> dict[Runtime, _Outcome]:
    """What a process of its own says of each runtime; where it dies or hangs, that is what is said of all."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of whoever asks, half alive
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(theirs, graph, runtimes, threads, pictures, seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        if ours.poll(_PATIENCE):
            outcomes: dict[Runtime, _Outcome] = ours.recv()
            return outcomes
        error = f"it gave no answer in {_PATIENCE:.0f} s"
    except EOFError:
        process.join()
        error = f"the process that tried it died ({process.exitcode})"
    finally:
        process.kill()
        process.join()
        ours.close()
    return {runtime: _Outcome(error=error) for runtime in runtimes}


def _try(
    connection: Connection,
    graph: Path,
    runtimes: tuple[Runtime, ...],
    threads: int,
    pictures: list[Pixels],
    seconds: float,
) -> None:
    """Runs in the process: opens all, takes their answers, then times them by turns."""
    outcomes: dict[Runtime, _Outcome] = {}
    runs: dict[Runtime, Callable[[Pixels], object]] = {}
    for runtime in runtimes:
        try:
            if PRECISION[runtime] == "bfloat16" and not has_bfloat16():
                raise RuntimeError("this CPU has no bfloat16")
            session = served.open_session(graph, threads, runtime.partition("-")[0], PRECISION[runtime])
            indices = [session.outputs.index(name) for name in ("detections", "count")]
            outcomes[runtime] = _Outcome(answers=tuple(_answer(session, indices, image) for image in pictures))
            runs[runtime] = session.run
        except Exception as error:  # whatever it raises, this runtime cannot be used
            text = " ".join(str(error).split()) or type(error).__name__
            outcomes[runtime] = _Outcome(error=textwrap.shorten(text, _MOST_SAID, placeholder=" ..."))
    timed = pictures[:_TIMED]
    best = {runtime: [float("inf")] * len(timed) for runtime in runs}
    started, rounds = time.perf_counter(), 0
    while runs and (rounds < 2 or time.perf_counter() < started + seconds):
        rounds += 1
        for number, image in enumerate(timed):
            for runtime, run in runs.items():
                before = time.perf_counter()
                run(image[None])
                best[runtime][number] = min(best[runtime][number], time.perf_counter() - before)
    for runtime, times in best.items():
        outcomes[runtime] = _Outcome(sum(times) / len(times), outcomes[runtime].answers)
    connection.send(outcomes)
    connection.close()


def _answer(session: served.Session, indices: list[int], image: Pixels) -> Rows:
    arrays = session.run(image[None])
    return rows_of(arrays[indices[0]], arrays[indices[1]])


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU, and not only emulates it."""
    import openvino  # noqa: PLC0415 - in the process that may die of it

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
