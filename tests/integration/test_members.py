"""Consumers and aggregators that join and leave in mid-job."""

from collections.abc import Iterator

import pytest

from tests.integration.whole import Whole, whole
from tests.stacks import RunningStack
from tests.waiting import wait_for

IMAGES = 3_000
"""Of each job; a job begins before each change."""
MOST = 4


@pytest.fixture(scope="module")
def works(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(stack, tmp_path_factory.mktemp("members"), IMAGES) as running:
        yield running


@pytest.mark.parametrize(("name", "word"), [("consumer", "partitions assigned"), ("aggregator", "partition taken")])
def test_from_one_to_four_and_back_in_mid_job(works: Whole, name: str, word: str) -> None:
    """Members join one after the other and leave again, each in mid-job: nothing is lost, under 1 % is done twice."""

    def join(number: int) -> None:
        member = works.start(name, number)
        wait_for(f"the share of {name}-{number}", lambda: word in member.log)

    def leave(number: int) -> None:
        assert works.running[f"{name}-{number}"].stop() == 0

    jobs = []
    for change in (join, leave):
        for number in range(1, MOST):
            jobs.append(works.submit().job)
            works.done(jobs[-1], 50)
            change(number)
    ended = [works.ended(job, 120) for job in jobs]
    assert [status.counts.done for status in ended] == [IMAGES] * len(jobs)
    assert sum(status.repeated for status in ended) < IMAGES * len(jobs) / 100
