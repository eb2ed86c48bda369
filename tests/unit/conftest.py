"""What every unit test is given."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_is_forgotten() -> Iterator[None]:
    """A test that set logging up leaves no logger behind that writes to its captured standard error."""
    yield
    structlog.reset_defaults()
