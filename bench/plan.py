"""What a benchmark was asked for: how long, over which images, in which folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import model_repository
from bench.load import Images
from bench.records import Runs, until_stable
from trapstream.core.messages import ModelInfo
from trapstream.models import bundles
from trapstream.models.card import read_card

T = TypeVar("T")
BUNDLE = Path(model_repository.__path__[0]) / "demonstration"
"""What is measured wherever a model computes: every machine has it."""
Tell = Callable[[str, int], None]
"""Takes what is being measured, and the number of the run."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One call of `trapstream bench`."""

    work: Path
    """A temporary folder."""
    quick: bool
    images: Images = field(default_factory=Images)
    say: Callable[[str], None]
    tell: Tell

    @property
    def cores(self) -> int:
        """Those that may be used."""
        return len(os.sched_getaffinity(0))

    @property
    def seconds(self) -> float:
        """About how long one run takes."""
        return self.pick(3.0, 10.0)

    def pick(self, quick: T, full: T) -> T:
        """What fits the time that there is."""
        return quick if self.quick else full

    def repeat(self, what: str, run: Callable[[], float], most: int | None = None) -> Runs:
        """Runs until the last three agree, or often enough."""
        number = 0

        def once() -> float:
            nonlocal number
            number += 1
            self.tell(what, number)
            return run()

        return until_stable(once, most or self.pick(3, 8))


def demonstration() -> ModelInfo:
    """The model in BUNDLE."""
    return bundles.info_of(read_card(BUNDLE / "card.json"))
