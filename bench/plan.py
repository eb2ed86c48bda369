"""The plan of one benchmark: how long it may take, over which images, in which folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.load import Images
from bench.models import Model, demonstration
from bench.records import Runs, until_stable

T = TypeVar("T")
Progress = Callable[[str, int], None]
"""Shows the name of the measure and the number of the run."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One call of `trapstream bench`."""

    work: Path
    """A temporary folder."""
    home: Path
    """The state folder of the user."""
    quick: bool
    images: Images = field(default_factory=Images)
    model: Model = field(default_factory=demonstration)
    say: Callable[[str], None]
    progress: Progress

    @property
    def label(self) -> str:
        """The images, and the model where it is not the usual one, for people."""
        usual = self.model == demonstration()
        return self.images.label if usual else f"{self.images.label}, {self.model.name}"

    @property
    def cores(self) -> int:
        """The number of cores that may be used."""
        return len(os.sched_getaffinity(0))

    @property
    def seconds(self) -> float:
        """About how long one run takes."""
        return self.pick(2.5, 10.0)

    def pick(self, quick: T, full: T) -> T:
        """One of two values: the first for a quick benchmark."""
        return quick if self.quick else full

    def repeat(self, what: str, run: Callable[[], float], most: int | None = None) -> Runs:
        """Runs until the last three agree, or often enough."""
        number = 0

        def once() -> float:
            nonlocal number
            number += 1
            self.progress(what, number)
            return run()

        return until_stable(once, most or self.pick(3, 8))
