"""An open loop on a stack that is up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import load, openloop
from bench.load import Images
from bench.stacks import Bench
from tests.acceptance.command import Command
from trapstream.core.messages import ModelInfo
from trapstream.local import control


@pytest.fixture
def bench(trapstream: Command) -> Bench:
    """The shared stack, as the benchmark sees it."""
    stack = control.running(trapstream.home)
    assert stack is not None
    return Bench(stack)


@pytest.fixture
def slow(bench: Bench) -> Iterator[ModelInfo]:
    """A model that takes 0.5 s for each image."""
    model = bench.load_model("half-a-second", 0.5)
    yield model
    bench.drop_model(model)


async def test_more_than_can_be_done_is_late_and_left_over(bench: Bench, slow: ModelInfo, tmp_path: Path) -> None:
    """A model that does two images a second is offered twenty: the most of them wait in the end, and count as late."""
    found = await openloop.run(bench, load.uris(Images(size=(128, 96), count=4), print), slow, 20.0, 5, 1.0)
    assert len(found.dues) == 60
    assert 30 < found.unanswered < 60
    assert found.dues == [seq // 5 * 5 / 20 for seq in range(60)]
    assert len(found.latencies(warm=0.0)) == 60
    assert min(found.latencies(warm=0.0)) > 0.5, "none is there sooner than the model takes"
