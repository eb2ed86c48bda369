"""A death at each numbered step of the services."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.whole import Whole, whole
from tests.stacks import RunningStack
from trapstream.core import faults

IMAGES = 1_200
TIMES = {"publish.3": 2, "emit.1": 3, "emit.2": 3, "emit.3": 3, "emit.4": 500, "fold.1": 2, "fold.3": 2}
"""Where the first time is too early to be of interest."""
SERVICES = {"publish": "producer", "emit": "consumer", "fold": "aggregator", "finalise": "aggregator"}


@pytest.fixture(scope="module")
def works(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(stack, tmp_path_factory.mktemp("faults"), IMAGES) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(works: Whole) -> bytes:
    """The file when nobody dies."""
    job = works.submit().job
    works.ended(job)
    return works.file(job)


@pytest.mark.parametrize("point", [point for point in faults.POINTS if point.partition(".")[0] in SERVICES])
def test_a_death_at_any_step_changes_no_byte(works: Whole, undisturbed: bytes, point: str) -> None:
    """A job whose process dies at this step, once, ends in the same file as the undisturbed one."""
    victim = SERVICES[point.partition(".")[0]]
    process = works.start(victim, settings={faults.VARIABLE: f"{point}:{TIMES.get(point, 1)}"})
    job = works.submit().job
    assert process.wait() == -signal.SIGKILL, process.log[-2000:]
    process.start()
    status = works.ended(job)
    assert status.counts.done == IMAGES
    assert works.file(job) == undisturbed
