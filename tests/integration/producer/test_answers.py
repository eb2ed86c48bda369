"""Answers for those who wait for them, over the real log."""

import asyncio
import time

from producer.live.answers import Answers
from tests.integration.aggregator import harness
from tests.stacks import RunningStack
from trapstream.core import kafka


async def test_none_is_missed_once_it_is_ready(stack: RunningStack, member: str) -> None:
    """What is answered from then on is heard without a look into the past; what was answered before, with one."""
    await kafka.create_topics(stack.kafka)
    before, after = f"{member}-before", f"{member}-after"
    began = time.time()
    await harness.send_results(stack.kafka, harness.results(before, 3))
    answers = Answers(stack.kafka, {before, after}.__contains__)
    following = asyncio.create_task(answers.run())
    try:
        await answers.ready.wait()
        await harness.send_results(stack.kafka, harness.results(after, 3))
        heard = await answers.wait((after, 2), 60.0, None)
        found = await answers.wait((before, 1), 60.0, began)
    finally:
        following.cancel()
        await asyncio.wait({following})
    assert heard is not None and heard.entry == bytes(harness.result(after, 2).entry)
    assert found is not None and found.entry == bytes(harness.result(before, 1).entry)
