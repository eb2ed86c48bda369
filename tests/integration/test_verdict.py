"""Stages that a shared stack cannot slow, on services of our own: the verdict names them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from bench import load
from bench.load import Images
from bench.services import service
from bench.stacks import Bench
from tests.integration.whole import empty_lanes
from tests.losing import lose
from tests.stacks import RunningStack
from tests.verdicts import drop_model, named
from trapstream.core import topics
from trapstream.core.messages import ModelInfo
from trapstream.jobs.submit import cancel
from trapstream.local import control

SMALL, LARGE = Images(size=(128, 96), count=4), Images(size=(3000, 2000), count=2)
SOON = {"TRAPSTREAM_STATUS_SECONDS": "0.1"}
SMALL_BATCHES = {**SOON, "TRAPSTREAM_FOLD_BATCH": "25"}
"""Each costs a sync, so that the consumers have far more to do than the fold until it has been looked at."""


@pytest.fixture(scope="module")
def bench(stack: RunningStack) -> Iterator[Bench]:
    """The shared Kafka and Triton with a producer, and a consumer of one decoder."""
    asyncio.run(empty_lanes(stack.kafka))
    # A new aggregator folds the whole log first, which a slow disk would make a matter of minutes.
    asyncio.run(
        lose(stack.kafka, [TopicPartition(topics.DETECTIONS.name, n) for n in range(topics.DETECTIONS.partitions)])
    )
    up = control.running(stack.home)
    assert up is not None
    with (
        service(Bench(up), "producer") as told,
        service(told, "consumer", settings={"TRAPSTREAM_DECODERS": "1"}) as seen,
    ):
        yield seen


@pytest.fixture(scope="module")
def free(bench: Bench) -> Iterator[ModelInfo]:
    """A model that costs nothing."""
    model = bench.load_model("free", 0.0)
    yield model
    drop_model(bench, model)


async def test_one_decoder_is_named(bench: Bench, free: ModelInfo, tmp_path: Path) -> None:
    """With one thread that decodes, and images of six megapixels, decode limits, or is what keeps the cores busy."""
    manifest = load.write_manifest(tmp_path / "list.jsonl", load.uris(LARGE, print), 1500)
    with service(bench, "aggregator", settings=SOON) as seen:
        spec = await seen.submit(manifest, free)
        await named(seen, spec, "decode", "processor", filling=8)
        await cancel(seen.kafka, spec.job)


async def test_a_slow_disk_is_named(bench: Bench, free: ModelInfo, tmp_path: Path) -> None:
    """With a disk under the aggregator that takes a second for a sync, fold limits, and a faster disk is what helps."""
    manifest = load.write_manifest(tmp_path / "list.jsonl", load.uris(SMALL, print), 40_000)
    with service(bench, "aggregator", settings=SMALL_BATCHES, module=("tests.slow_disk", "1")) as seen:
        spec = await seen.submit(manifest, free)
        found = await named(seen, spec, "fold")
        await cancel(seen.kafka, spec.job)
    assert found.max_gain is not None, found.sentence
    assert found.max_gain > 1.5, found.sentence
    assert "a faster disk" in found.sentence
