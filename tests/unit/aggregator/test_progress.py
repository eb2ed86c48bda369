"""Where a partition is read on, and what is said of a job on its way."""

import pytest

from aggregator.partitions import first_offset
from aggregator.progress import WINDOW, Progress, status_of
from tests.unit.values import job_spec
from trapstream.core.errors import Fatal
from trapstream.core.messages import Counts, JobState


@pytest.mark.parametrize(
    ("stored", "begin", "end", "wanted"),
    [(None, 0, 0, 0), (None, 0, 9, 0), (4, 0, 9, 4), (9, 0, 9, 9), (None, 5, 9, 5), (4, 5, 9, 5), (5, 5, 9, 5)],
)
def test_first_offset(stored: int | None, begin: int, end: int, wanted: int) -> None:
    """The store's own offset counts, unless the log begins later."""
    assert first_offset(stored, begin, end, "store", 3) == wanted


def test_log_that_ends_before_the_store() -> None:
    """A store that is ahead of the log stops the process with a line that says what to do."""
    with pytest.raises(Fatal, match="Kafka has lost data"):
        first_offset(10, 0, 9, "store", 3)


def test_status_on_the_way() -> None:
    """Rate over the last seconds, and the end that it predicts."""
    progress = Progress(counts=Counts(detected=60, empty=40))
    for second in range(10):
        progress.add(10, now=1000.0 + second)
    found = status_of(job_spec(total=300, images=300), progress, now=1009.5)
    assert found.state is JobState.RUNNING
    assert found.counts == Counts(detected=60, empty=40)
    assert found.rate == pytest.approx(100 / 9.5, abs=0.1)
    assert found.finish == pytest.approx(1009.5 + 200 / (100 / 9.5), abs=0.2)


def test_rate_forgets() -> None:
    """A job that stands still has no rate and no predicted end."""
    progress = Progress(counts=Counts(detected=10))
    progress.add(10, now=1000.0)
    found = status_of(job_spec(total=300, images=300), progress, now=1000.0 + WINDOW)
    assert (found.rate, found.finish) == (0.0, None)


def test_last_status() -> None:
    """The last status says how the job ended."""
    spec = job_spec(total=3, cancelled=True)
    for done, state in ((3, JobState.COMPLETED), (2, JobState.CANCELLED)):
        assert status_of(spec, Progress(counts=Counts(empty=done)), now=5.0, written=True).state is state
