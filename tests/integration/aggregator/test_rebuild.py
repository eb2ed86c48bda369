"""Making files and stores again from the log, by the command."""

import os
import shutil
from pathlib import Path

import pytest

from tests.acceptance.command import Command
from tests.integration.aggregator import harness
from tests.stacks import RunningStack
from trapstream.core import kafka
from trapstream.core.messages import JobState
from trapstream.core.result_store import result_path


@pytest.fixture(autouse=True)
async def broker(stack: RunningStack) -> None:
    await kafka.create_topics(stack.kafka)


async def test_a_finished_file(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """A finished job's file that is damaged or gone comes again with the same bytes, and nothing is stopped for it."""
    command, spec = Command(tmp_path, dict(os.environ)), harness.sealed(member, 700)
    with harness.aggregator(tmp_path, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, harness.shuffled(harness.results(member, 600)))
        early = command("rebuild", member, "--kafka", stack.kafka)
        assert early.status == 4
        await harness.send_results(stack.kafka, harness.results(member, 700))
        before = await harness.wait_file(tmp_path, stack.kafka, member)
        path = result_path(tmp_path / "results", member)
        path.write_bytes(before[:1000])
        made = command("rebuild", member, "--kafka", stack.kafka)
        assert made.status == 0, made.err
        assert path.read_bytes() == before


async def test_a_cancelled_job(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """A cancelled job's file comes again as it was, without the results that came after its end."""
    command = Command(tmp_path, dict(os.environ))
    with harness.aggregator(tmp_path, stack.kafka):
        await harness.send_spec(stack.kafka, harness.sealed(member, 100))
        await harness.send_results(stack.kafka, harness.results(member, 40))
        await harness.wait_status(stack.kafka, member, lambda found: found.counts.done == 40)
        await harness.send_spec(stack.kafka, harness.sealed(member, 100, cancelled=True))
        before = await harness.wait_file(tmp_path, stack.kafka, member, JobState.CANCELLED)
        await harness.send_results(stack.kafka, harness.results(member, 90))
        path = result_path(tmp_path / "results", member)
        path.unlink()
        made = command("rebuild", member, "--kafka", stack.kafka)
        assert made.status == 0, made.err
        assert path.read_bytes() == before


async def test_results_that_are_gone(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """Where the log makes other bytes than the job ended with, the file stays, and a line says what is different."""
    command, spec = Command(tmp_path, dict(os.environ)), harness.sealed(member, 20)
    with harness.aggregator(tmp_path, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, harness.results(member, 20))
        before = await harness.wait_file(tmp_path, stack.kafka, member)
    final = await harness.wait_status(stack.kafka, member, lambda found: found.sha256 is not None)
    await harness.send_status(stack.kafka, final, sha256="0" * 64)
    refused = command("rebuild", member, "--kafka", stack.kafka)
    assert refused.status == 1
    assert "other bytes" in refused.err
    output = tmp_path / "elsewhere.json"
    assert command("rebuild", member, "--kafka", stack.kafka, "-o", output).status == 0
    assert output.read_bytes() == result_path(tmp_path / "results", member).read_bytes() == before


async def test_all_of_it(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """Stores that were deleted while the aggregator was down are made again; the file is the same."""
    spec = harness.sealed(member, 300)
    log = harness.shuffled(harness.results(member, 300))
    with harness.aggregator(tmp_path, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log[:150])
        await harness.wait_status(stack.kafka, member, lambda found: found.counts.done > 0)
        assert process.stop() == 0
        shutil.rmtree(tmp_path / "aggregator")
        process.start()
        await harness.send_results(stack.kafka, log[150:])
        assert await harness.wait_file(tmp_path, stack.kafka, member) == harness.expected(spec, log)
