"""A fold that cannot keep up is named by the verdict."""

from pathlib import Path

import aiohttp
import msgspec

from tests.integration.aggregator import harness
from tests.integration.outages import free_port
from tests.integration.service import service
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka
from trapstream.core.verdict import Load, Verdict, judge


class _Told(msgspec.Struct):
    load: Load | None = None


async def test_a_fold_that_cannot_keep_up_is_named(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """With one transaction, and so one sync of the disk, for every two results, and more waiting, fold limits."""
    await kafka.create_topics(stack.kafka)
    port = free_port()

    async def limits() -> Verdict | None:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                found = judge(msgspec.json.decode(await answer.read(), type=_Told).load)
        except aiohttp.ClientError:
            return None  # it starts
        return found if found is not None and found.limits == "fold" else None

    spec = harness.sealed(member, 20_000)
    await harness.send_spec(stack.kafka, spec)
    await harness.send_results(stack.kafka, harness.results(member, 20_000))
    with service("aggregator", tmp_path, stack.kafka, member, fold_batch="2", http_port=str(port)):
        found = await eventually("a verdict that names the fold", limits, 30)
    assert found.busiest == "fold"
    assert "a faster disk" in found.sentence
