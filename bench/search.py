"""A search for the setting with the highest rate, where every rate is measured and so is noisy. Pure.

Coordinate descent: one axis after the other, all else as it is. On an axis the values are measured by turns, and after
each round the slower half is left out (successive halving: Jamieson and Talwalkar, 2016), so that the load of the
machine is the same for those that are compared, and the more promising are measured more often. What comes out is then
held against the default, by turns too, and is taken only where it was faster each time.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Setting = dict[str, int]
Rate = Callable[[Setting], float]
"""Measures a setting; 0 where it does not work."""

MARGIN = 1.03
"""What is not faster by this does not replace what there is."""
PAIRS = 3
"""Comparisons with the default, at least: fewer tell nothing of the spread."""


@dataclass(frozen=True)
class Found:
    """The end of a search."""

    best: Setting
    """The default, where nothing was shown to be better."""
    tried: Setting
    """What was held against the default; the default itself where the search found nothing else."""
    defaults: tuple[float, ...] = ()
    """Rates of the default, by turns with those of what was tried."""
    rates: tuple[float, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """Tried by default, pair by pair."""
        return tuple(rate / usual for rate, usual in zip(self.rates, self.defaults, strict=True))

    @property
    def gain(self) -> float:
        """The median of the ratios; 1 where nothing was tried."""
        return statistics.median(self.ratios) if self.ratios else 1.0


def search(axes: Mapping[str, Sequence[int]], default: Setting, rate: Rate, most: int, pairs: int = PAIRS) -> Found:
    """The best setting of `axes`, found with `most` measurements at the most.

    `default` has a value for each axis. The last 2 * `pairs` measurements are for holding what was found against it.
    ValueError where there are too few for that, or where the default does not work.
    """
    left = most - 2 * pairs
    if left < 0 or pairs < PAIRS:
        raise ValueError(f"{most} measurements are too few for {pairs} comparisons in the end")
    best, changed = dict(default), True
    while changed:  # where an axis changed, what was found on those before it may be no longer the best
        changed = False
        for name, values in axes.items():
            found, used = _along(name, values, best, rate, left)
            left -= used
            changed = changed or found != best[name]
            best = best | {name: found}
    return _against(default, best, rate, pairs)


def rounds(values: int) -> list[int]:
    """How many are measured in each round of an axis of so many values: halves, and the last two twice."""
    sizes = []
    while values > 2:
        sizes.append(values)
        values = (values + 1) // 2
    return [*sizes, 2, 2] if values == 2 else sizes


def _along(name: str, values: Sequence[int], best: Setting, rate: Rate, most: int) -> tuple[int, int]:
    """The best value of one axis, and how many measurements it took; the present one where `most` do not suffice."""
    present = best[name]
    racing = list(dict.fromkeys([present, *values]))
    sizes = rounds(len(racing))
    if sum(sizes) > most:
        return present, 0
    gains: dict[int, list[float]] = {value: [] for value in racing}
    for size in sizes:
        others = sorted(racing[1:], key=lambda value: -_median(gains[value]))
        racing = [present, *others[: size - 1]]
        rates = {value: rate(best | {name: value}) for value in racing}
        for value in racing:
            gains[value].append(rates[value] / rates[present] if rates[present] else 0.0)
    top = max(racing, key=lambda value: _median(gains[value]))
    return (top if _median(gains[top]) > MARGIN else present), sum(sizes)


def _against(default: Setting, best: Setting, rate: Rate, pairs: int) -> Found:
    if best == default:
        return Found(default, default)
    usual: list[float] = []
    rates: list[float] = []
    for number in range(pairs):
        for setting, seen in ((default, usual), (best, rates))[:: -1 if number % 2 else 1]:
            seen.append(rate(setting))
    if not all(usual):
        raise ValueError("the default does not work")
    found = Found(best, best, tuple(usual), tuple(rates))
    return found if min(found.ratios) > 1 else Found(default, best, found.defaults, found.rates)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0
