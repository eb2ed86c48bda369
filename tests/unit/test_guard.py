"""What is left of tests whose process was killed: no process and no shared memory."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for
from trapstream.local import processes
from trapstream.local.home import lock_file, shm_prefix

RUNS_TESTS = """
import pathlib, subprocess, sys, time
from tests import guard
guard.start(pathlib.Path(sys.argv[1]))
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(started.pid, flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_killed_process_that_ran_tests(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With -9, so that it ends nothing itself: what it started is ended, its region is removed, and a line says so."""
    home = tmp_path / "a home"
    home.mkdir()
    lock_file(home).touch()
    region = processes.SHM / f"{shm_prefix(home)}slab"
    region.touch()
    tested = subprocess.Popen([sys.executable, "-c", RUNS_TESTS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert tested.stdout is not None
    left = psutil.Process(int(tested.stdout.readline()))
    tested.kill()
    tested.communicate()
    wait_for("the end of what was left", lambda: not left.is_running() and not region.exists())
    wait_for("a line about it", lambda: "left behind by tests" in capfd.readouterr().err)
