"""The findings of a benchmark: one record for each measure, one JSON line for each record."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import machine
from trapstream.core import json_codec

AGREE = 0.05
"""The last three runs are stable when they differ by no more than this share of their median."""


@dataclass(frozen=True)
class Runs:
    """The values of one measure, run after run, without the warm-up."""

    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median of the last three: one run beside another's work does not move it."""
        return statistics.median(self.values[-3:])

    @property
    def spread(self) -> float:
        """The difference of largest and smallest of the last three, as a share of their median."""
        last = self.values[-3:]
        return (max(last) - min(last)) / self.value if self.value else 0.0

    @property
    def stable(self) -> bool:
        """Whether there are three at the end that agree."""
        return len(self.values) >= 3 and self.spread <= AGREE


def until_stable(run: Callable[[], float], most: int) -> Runs:
    """Runs until the last three agree, `most` times at most."""
    runs = Runs((run(),))
    while len(runs.values) < most and not runs.stable:
        runs = Runs((*runs.values, run()))
    return runs


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measure."""

    bench: str
    what: str
    """The measure, such as `pipeline, 1280 x 960`."""
    value: float
    unit: str
    runs: tuple[float, ...] = ()
    stable: bool = True
    target: str = ""
    """The value that is wanted, such as `>= 0.9`."""
    reached: bool | None = None
    """None where there is no target."""
    details: dict[str, object] = field(default_factory=dict)


def record(
    bench: str, what: str, runs: Runs, unit: str, *, at_least: float | None = None, at_most: float | None = None,
    **details: object,
) -> Record:  # fmt: skip
    """The record of some runs, held against a target if there is one."""
    reached = None
    if at_least is not None:
        reached = runs.value >= at_least
    elif at_most is not None:
        reached = runs.value <= at_most
    target = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}" if at_most is not None else ""
    return Record(
        bench=bench,
        what=what,
        value=runs.value,
        unit=unit,
        runs=runs.values,
        stable=runs.spread <= AGREE,
        target=target,
        reached=reached,
        details=details,
    )


class Book:
    """Takes records as they come, and writes each to a file at once."""

    def __init__(self, path: Path | None, configuration: dict[str, object]) -> None:
        self.records: list[Record] = []
        self.machine = machine.describe()
        self._path, self._configuration = path, configuration

    def add(self, found: Record) -> None:
        """Keeps a record."""
        self.records.append(found)
        if self._path is not None:
            line = asdict(found) | {
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "load": machine.busy(),
                "machine": self.machine,
                "configuration": self._configuration,
            }
            with self._path.open("ab") as file:
                file.write(json_codec.encode(line) + b"\n")
