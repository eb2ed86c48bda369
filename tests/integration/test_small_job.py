"""A small job behind a large one, through producer, consumers and aggregator."""

import asyncio
from pathlib import Path

from bench.tools import chaos_model
from tests.integration.whole import whole
from tests.stacks import RunningStack
from tests.waiting import wait_for
from trapstream.core import status
from trapstream.core.messages import JobState
from trapstream.jobs.submit import cancel

LARGE, SMALL = 60_000, 100


def test_a_small_job_ends_while_most_of_a_large_one_is_still_to_come(stack: RunningStack, tmp_path: Path) -> None:
    """It waits for no more of the large one than consumers had at hand, also while a consumer joins and leaves."""
    with whole(stack, tmp_path, LARGE, {"TRAPSTREAM_PUBLISH_AHEAD_SECONDS": "1"}) as works:
        small = chaos_model.write_images(tmp_path / "small", SMALL, kinds=SMALL)
        large = works.submit()
        works.done(large.job, 1_000)
        works.start("consumer", 1)
        wait_for("the second consumer's share", lambda: "partitions assigned" in works.running["consumer-1"].log)
        first = works.ended(works.submit(small).job)
        assert works.running["consumer-1"].stop() == 0
        second = works.ended(works.submit(small).job)
        left = asyncio.run(status.read_all(stack.kafka))[large.job]
        assert (first.state, second.state) == (JobState.COMPLETED, JobState.COMPLETED)
        assert first.counts.done == second.counts.done == SMALL
        assert left.counts.done < LARGE / 2
        asyncio.run(cancel(stack.kafka, large.job))
        assert works.ended(large.job).state is JobState.CANCELLED
