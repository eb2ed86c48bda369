"""The short form of `make chaos`."""

import subprocess
import sys

import pytest

from tests.waiting import patient


@pytest.mark.timeout(150)
def test_twenty_kills_change_no_byte() -> None:
    """Twenty random processes of a stack are killed at random moments: each job ends with the undisturbed file."""
    chaos = [sys.executable, "-m", "bench.tools.chaos"]
    command = [*chaos, "--kills", "20", "--images", "3000", "--seed", "20", "--gap", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(140), check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
