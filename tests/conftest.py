"""What every tier of tests may use."""

import os
from pathlib import Path

import hypothesis
import pytest

# The machine is shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("trapstream", deadline=None)
hypothesis.settings.load_profile("trapstream")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real photographs, which the project does not hold: TRAPSTREAM_TEST_IMAGES, or ../shared/images."""
    beside = Path(__file__).parents[2] / "shared" / "images"
    folder = Path(os.environ.get("TRAPSTREAM_TEST_IMAGES") or beside)
    if not folder.is_dir():
        pytest.skip(f"no photographs: {folder} is not there")
    return folder
