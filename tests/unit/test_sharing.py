"""How tests are shared out, on suites of a few lines: each run ends, whatever its tests do."""

import subprocess
import sys
from pathlib import Path

from tests import sharing

ROOT = Path(__file__).parents[2]
CRASHES = "import os\ndef test_before(): pass\ndef test_crashes(): os._exit(3)\ndef test_after(): pass\n"
LATE = "import pytest, time\n@pytest.mark.timeout(0.5)\ndef test_late():\n    time.sleep(60)\ndef test_next(): pass\n"


def test_a_run_ends_whatever_its_tests_do(tmp_path: Path) -> None:
    """Of tests that end their worker or come late each fails once, with where it stood; all others are run once."""
    for number in range(6):
        (tmp_path / f"test_{number}.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    (tmp_path / "test_crash_first.py").write_text(CRASHES)
    (tmp_path / "test_late.py").write_text(LATE)
    (tmp_path / "test_z_crash_last.py").write_text(CRASHES)
    options = ("-n2", "-ptests.sharing", "-pno:cacheprovider", "-c/dev/null", f"--rootdir={tmp_path}")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "3 failed, 17 passed" in run.stdout, run.stdout
    assert run.stdout.count("crashed while running") >= 2
    assert "Failed: Timeout (>0.5s) from pytest-timeout" in run.stdout
    assert "test_late.py:4: Failed" in run.stdout


def test_what_shares_a_stack_goes_to_one_worker() -> None:
    """Acceptance tests share two stacks, but for those that bring up their own; else a file's tests stay together."""
    files = (f"tests/acceptance/test_{name}.py" for name in ("jobs", "kill", "diff", "chaos", "live"))
    jobs, kill, diff, chaos, live = files
    first, second = sharing.group(f"{jobs}::test_a"), sharing.group(f"{diff}::test_a")
    assert first == sharing.group(f"{kill}::test_b[c]") == sharing.group(f"{live}::test_c")
    assert len({first, second, sharing.group(f"{live}::test_uploads_while_processes_are_killed")}) == 3
    assert sharing.group(f"{chaos}::test_a") == chaos
    assert sharing.group("tests/unit/test_jobs.py::test_a") == "tests/unit/test_jobs.py"
    deaths = "tests/integration/test_faults.py::test_a_death_at_any_step_changes_no_byte"
    assert sharing.group(f"{deaths}[fold.1]") == sharing.group(f"{deaths}[fold.within-3]")
    assert sharing.group(f"{deaths}[fold.1]") != sharing.group(f"{deaths}[emit.1]")
    names = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "acceptance").glob("test_*.py")}
    assert set(sharing.SHARED) <= names
