"""What every tier of tests may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests import guard, sharing
from tests.sharing import pytest_xdist_make_scheduler  # noqa: F401 - a hook
from tests.waiting import patient

# A shell that starts the tests in the background has them ignore Ctrl-C, and all that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start many processes, and none of them should compile its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The machine is shared: how long an example takes, to draw or to run, says nothing about the code.
slow = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("trapstream", deadline=None, suppress_health_check=slow)
hypothesis.settings.load_profile("trapstream")


@pytest.fixture(autouse=True)
def _logging_is_forgotten() -> Iterator[None]:
    """A test that set logging up leaves no logger behind that writes to its captured standard error."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real photographs, which the project does not hold: TRAPSTREAM_TEST_IMAGES, or ../shared/images."""
    beside = Path(__file__).parents[2] / "shared" / "images"
    folder = Path(os.environ.get("TRAPSTREAM_TEST_IMAGES") or beside)
    if not folder.is_dir():
        pytest.skip(f"no photographs: {folder} is not there")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes and shared memory that outlive the tests are ended and removed, whatever ended the tests."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # what it finds after a crash is for the terminal
        watching = guard.start(tmp_path_factory.getbasetemp())
    yield
    watching.send_signal(signal.SIGUSR1)
    found, _ = watching.communicate()
    assert watching.returncode == 0, found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Has the longest tests begin first, and gives each test the limit of this machine."""
    items.sort(key=lambda item: sharing.turn(item.nodeid))
    usual = float(config.getini("timeout"))
    for item in items:
        marked = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(patient(marked.args[0] if marked else usual)), append=False)
