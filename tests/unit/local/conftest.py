"""The command configures logging for its process; here many commands share one."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Otherwise later tests log to a standard error that is closed by then."""
    yield
    structlog.reset_defaults()
