"""Fault points: absent in production, and exact in a test."""

import os
import re
import signal
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

from tests.waiting import patient
from trapstream.core import faults

ROOT = Path(__file__).parents[3]
PROGRAM = """
from trapstream.core import faults
for number in range(1, 6):
    print(number, flush=True)
    faults.reach("emit.3")
"""


def _run(home: Path, fault: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {faults.VARIABLE: fault, "TRAPSTREAM_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def test_a_point_kills_at_the_nth_time_and_once(tmp_path: Path) -> None:
    """The process dies by SIGKILL when it comes there the third time; started again, it lives."""
    died = _run(tmp_path, "fold.2,emit.3:3")
    assert (died.returncode, died.stdout.split()) == (-signal.SIGKILL, ["1", "2", "3"])
    assert faults.marker(tmp_path, "emit.3").exists()
    again = _run(tmp_path, "fold.2,emit.3:3")
    assert (again.returncode, again.stdout.split()) == (0, ["1", "2", "3", "4", "5"])


def test_an_unknown_point_is_refused(tmp_path: Path) -> None:
    """A point that there is not would test nothing, so it is an error."""
    with pytest.raises(ValueError, match=r"emit\.99"):
        faults.armed("emit.99", tmp_path)


def test_it_costs_nothing_where_nobody_asks() -> None:
    """Without the variable a point is a call of a function that does nothing."""
    assert faults.VARIABLE not in os.environ
    assert min(timeit.repeat(lambda: faults.reach("emit.3"), number=10_000, repeat=5)) < 0.02


def test_every_point_stands_in_the_code() -> None:
    """The list of points and the points in the services are the same."""
    folders = [ROOT / package for package in ("producer", "consumer", "aggregator", "notifier", "trapstream")]
    code = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    assert set(re.findall(r'faults\.reach\("([^"]+)"\)', code)) == set(faults.POINTS)
