"""What counts as the same answer: whatever could come of numbers within the tolerances, and nothing else."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapstream.models import agreement
from trapstream.models.agreement import BOX, FLOOR, Given, compare, floor_for, suppress

Array = npt.NDArray[Any]
FRAME = (640, 480)
TOLERANCE = 0.005


def candidates(seed: int, cells: int, surest: float) -> Array:
    """Boxes in clusters, so that many overlap, of three classes, the surest first."""
    rng = np.random.default_rng(seed)
    homes = rng.uniform(60, 420, (5, 2))
    centre = homes[rng.integers(0, 5, cells)] + rng.normal(0, 10, (cells, 2))
    reach = rng.uniform(10, 60, (cells, 2))
    confidence = 0.0051 + (surest - 0.0051) * rng.uniform(0, 1, (cells, 1)) ** 2
    rows = np.concatenate([centre - reach, centre + reach, confidence, rng.integers(0, 3, (cells, 1))], 1)
    return ordered(rows.astype(np.float32))


def ordered(rows: Array) -> Array:
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def original(rows: Array) -> Given:
    return Given(rows, suppress(rows, 300), FRAME)


def shaken(seed: int, rows: Array, share: float) -> Array:
    """All numbers off by at most `share` of what is tolerated."""
    rng = np.random.default_rng(seed)
    moved = rows.astype(np.float64)
    moved[:, :4] += rng.uniform(-share, share, (len(rows), 4)) * BOX * np.asarray([*FRAME, *FRAME])
    allowed = TOLERANCE * np.minimum(1, moved[:, 4] / FLOOR)
    moved[:, 4] += rng.uniform(-share, share, len(rows)) * allowed
    return ordered(moved.astype(np.float32))


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(0, 400), st.sampled_from([0.9, 0.3, 0.05]))
def test_numbers_within_the_tolerances_are_the_same_answer(seed: int, cells: int, surest: float) -> None:
    """Whatever suppression makes of numbers that are a little off is accepted, at both floors."""
    rows = candidates(seed, cells, surest)
    found = suppress(shaken(seed, rows, 0.98), 300)
    truth = original(rows)
    for floor in (FLOOR, floor_for(truth, found)):
        difference = compare(truth, found, TOLERANCE, floor)
        assert difference.faults == ()
        assert difference.box <= BOX
        assert difference.confidence <= TOLERANCE


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(["box", "confidence", "class", "gone", "new", "twice"]))
def test_a_difference_out_of_tolerance_is_told(seed: int, kind: str) -> None:
    """One detection that is moved, less sure, of another class, gone, made up or doubled is a fault."""
    rows = candidates(seed, 60, 0.9)
    truth = original(rows)
    found = truth.kept.copy()
    place = int(np.random.default_rng(seed).integers((found[:, 4] > 0.2).sum()))
    lonely = all(
        agreement.overlaps(found[place], rows[n : n + 1])[0] < 0.1
        for n in range(len(rows))
        if not np.array_equal(rows[n], found[place])
    )
    match kind:
        case "box":
            found[place, 0] -= 0.0011 * FRAME[0] + 40
        case "confidence":
            found[place, 4] = 0.11 if found[place, 4] > 0.5 else 0.99
        case "class":
            found[place, 5] = 7
        case "gone" if lonely:
            found = np.delete(found, place, 0)
        case "new" | "gone":
            found = np.concatenate([found, np.asarray([[600, 5, 630, 40, 0.5, 1]], np.float32)])
        case "twice":
            found = np.insert(found, place, found[place], 0)
    assert compare(truth, ordered(found), TOLERANCE).faults


def test_a_detection_at_the_floor_may_fall_on_either_side() -> None:
    """0.1 plus or minus the tolerance: present or absent, both are right; beyond it the count must be the same."""
    edge = np.asarray([[10, 10, 50, 50, 0.104, 0]], np.float32)
    sure = np.asarray([[10, 10, 50, 50, 0.106, 0]], np.float32)
    none = np.zeros((0, 6), np.float32)
    assert compare(original(edge), none, TOLERANCE).faults == ()
    assert compare(original(sure), none, TOLERANCE).faults != ()
    below = np.asarray([[10, 10, 50, 50, 0.098, 0]], np.float32)
    assert compare(original(below), edge - [0, 0, 0, 0, 0.002, 0], TOLERANCE).faults == ()


def test_two_equally_sure_cells_may_change_places() -> None:
    """The other one of two cells for the same animal is a tie, with its own box; a less sure one is none."""
    first, second = [100, 100, 200, 200, 0.700, 0], [108, 100, 208, 200, 0.699, 0]
    both = np.asarray([first, second], np.float32)
    difference = compare(original(both), both[1:], TOLERANCE)
    assert (difference.faults, difference.ties, difference.box) == ((), 2, 0)
    both[1, 4] = 0.6
    assert compare(original(both), both[1:], TOLERANCE).faults != ()


def test_without_suppression_nothing_excuses_an_absence() -> None:
    """An end-to-end detector's detections may overlap, and all of them must be there."""
    rows = np.asarray([[100, 100, 200, 200, 0.7, 0], [108, 100, 208, 200, 0.699, 0]], np.float32)
    truth = Given(rows, rows, FRAME, suppressed=False)
    assert compare(truth, rows, TOLERANCE).faults == ()
    assert compare(truth, rows[:1], TOLERANCE).faults != ()


def test_what_has_no_room_is_not_missed() -> None:
    """Where the answer is full, detections about as sure as its last one may be others."""
    number = np.arange(400, dtype=np.float32)
    rows = np.stack([number * 20, number * 0, number * 20 + 15, number * 0 + 15, 0.9 - number * 0.001, number * 0], 1)
    truth = original(rows)
    assert len(truth.kept) == 300
    swapped = np.concatenate([truth.kept[:299], rows[301:302]])
    assert compare(truth, swapped, TOLERANCE).faults == ()
    assert compare(truth, np.delete(truth.kept, 5, 0), TOLERANCE).faults != ()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_a_fault(value: float) -> None:
    rows = candidates(1, 5, 0.9)
    broken = rows.copy()
    broken[0, 0] = value
    assert compare(original(rows), broken, TOLERANCE).faults
