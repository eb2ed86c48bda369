"""What every tier of tests may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

# A shell that starts the tests in the background has them ignore Ctrl-C, and all that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers each one has stacks of its own: keeps together what shares one, and else each file."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        group = "acceptance" if "trapstream" in names else item.path.parent.name if "stack" in names else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
