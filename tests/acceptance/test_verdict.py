"""Each stage slowed in turn on a stack that is up: the verdict names it. Timings are not tested here: the slowing is
tenfold and more."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import load
from bench.load import Images
from bench.stacks import Bench
from bench.trickle import trickle
from tests.acceptance.command import Command
from tests.slow_server import slow_server
from tests.verdicts import drop_model, named
from trapstream.core.messages import ModelInfo
from trapstream.jobs.submit import cancel
from trapstream.local import control

SMALL, LARGE = Images(size=(128, 96), count=4), Images(size=(3000, 2000), count=2)


@pytest.fixture(scope="module")
def bench(trapstream: Command) -> Bench:
    """The shared stack, as the benchmark sees it."""
    stack = control.running(trapstream.home)
    assert stack is not None
    return Bench(stack)


@pytest.fixture(scope="module")
def free(bench: Bench) -> Iterator[ModelInfo]:
    """A model that costs nothing."""
    model = bench.load_model("free", 0.0)
    yield model
    drop_model(bench, model)


@pytest.fixture(scope="module")
def slow(bench: Bench) -> Iterator[ModelInfo]:
    """A model that takes 25 ms for each image."""
    model = bench.load_model("slow", 0.025)
    yield model
    drop_model(bench, model)


async def test_a_slow_file_server_is_named(bench: Bench, free: ModelInfo, tmp_path: Path) -> None:
    """With a server that takes a second for each file, fetch limits."""
    with slow_server(load.uris(SMALL, print)[0], 1.0) as url:
        spec = await bench.submit(load.write_manifest(tmp_path / "list.jsonl", [url], 1000), free)
        await named(bench, spec, "fetch")
        await cancel(bench.kafka, spec.job)


async def test_large_images_name_the_decoders(bench: Bench, free: ModelInfo, tmp_path: Path) -> None:
    """With images of six megapixels and a model that costs nothing, decode limits, or is what keeps the cores busy."""
    manifest = load.write_manifest(tmp_path / "list.jsonl", load.uris(LARGE, print), 1500)
    spec = await bench.submit(manifest, free)
    await named(bench, spec, "decode", "processor")
    await cancel(bench.kafka, spec.job)


async def test_a_slow_model_is_named_and_status_says_so(
    bench: Bench, slow: ModelInfo, trapstream: Command, tmp_path: Path
) -> None:
    """With a model that takes 25 ms for each small image, detect limits, and `status` says so while the job runs."""
    manifest = load.write_manifest(tmp_path / "list.jsonl", load.uris(SMALL, print), 4000)
    spec = await bench.submit(manifest, slow)
    await named(bench, spec, "detect", "processor")
    told = trapstream("status", spec.job, "--json")
    assert "limits" in json.loads(told.out)["verdict"]["sentence"]
    assert "images/s" in trapstream("status", spec.job).out.splitlines()[-1]
    await cancel(bench.kafka, spec.job)


async def test_a_slow_source_is_named(bench: Bench, free: ModelInfo) -> None:
    """With references that come one by one, ten a second, no stage limits but the source."""
    async with trickle(bench, load.uris(SMALL, print), free, 10) as spec:
        await named(bench, spec, "publish", filling=4)
