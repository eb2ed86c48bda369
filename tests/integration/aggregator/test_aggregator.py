"""The aggregator on a real Kafka: one file a job, the same bytes whatever happens."""

import io
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.integration.aggregator import harness
from tests.megadetector_rules import check
from tests.stacks import RunningStack
from tests.waiting import wait_for
from trapstream.core import kafka, letters, messages, status, topics
from trapstream.core.messages import JobState, Outcome
from trapstream.core.result_store import result_path
from trapstream.results.partial import partial


@pytest.fixture(autouse=True)
async def broker(stack: RunningStack) -> None:
    await kafka.create_topics(stack.kafka)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


async def test_first_results_in_order(stack: RunningStack, member: str, home: Path) -> None:
    """Results out of order and repeated become one file: the first of each, in order, by MegaDetector's rules."""
    spec = harness.sealed(member, 2_000)
    log = harness.shuffled(harness.results(member, 2_000))
    with harness.aggregator(home, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log)
        got = await harness.wait_file(home, stack.kafka, member)
    assert got == harness.expected(spec, log)
    assert check(result_path(home / "results", member)) == []
    final = (await status.read_all(stack.kafka))[member]
    assert final.counts.done == 2_000
    assert final.repeated == 400


async def test_killed_in_mid_job(stack: RunningStack, member: str, home: Path) -> None:
    """Killed with SIGKILL in mid-job and started again, it writes the same bytes."""
    spec = harness.sealed(member, 3_000)
    log = harness.shuffled(harness.results(member, 3_000))
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        before = 0
        for cut in range(0, len(log), 900):
            await harness.send_results(stack.kafka, log[cut : cut + 900])
            reported = await harness.wait_status(stack.kafka, member, lambda found: found.counts.done > before)  # noqa: B023
            before = reported.counts.done
            process.kill()
            process.start()
        got = await harness.wait_file(home, stack.kafka, member)
    assert got == harness.expected(spec, log)


async def test_dead_letter(stack: RunningStack, member: str, home: Path) -> None:
    """A message that cannot be read goes to the dead letters with its reason, and the job completes."""
    spec = harness.sealed(member, 30)
    log = harness.results(member, 30)
    bad = [b"not json", b'{"v":9}', b"", messages.encode(log[3]).replace(b'"detected"', b'"eaten"')]
    values = [messages.encode(answer) for answer in log]
    with harness.aggregator(home, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        await harness.send(stack.kafka, topics.DETECTIONS, [(member, value) for value in [*bad, *values]])
        got = await harness.wait_file(home, stack.kafka, member)
    assert got == harness.expected(spec, log)
    parked = [letters.content(letter) async for letter in letters.read(stack.kafka)]
    assert all(value in parked for value in bad)


async def test_a_reason_of_a_later_version(stack: RunningStack, member: str, home: Path) -> None:
    """A consumer that was upgraded first gives a reason that no reader knows: it counts, also in a store made again."""
    spec = harness.sealed(member, 60)
    log = harness.results(member, 60)
    entry = b'{"file":"a.jpg","failure":"image access failure: from the future: at noon","detections":null}'
    later = {"outcome": Outcome.FAILED, "reason": "from the future", "entry": msgspec.Raw(entry)}
    log[10:20] = [msgspec.structs.replace(each, **later) for each in log[10:20]]
    path = result_path(home / "results", member)
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log)
        before = await harness.wait_file(home, stack.kafka, member)
        final = (await status.read_all(stack.kafka))[member]
        assert process.stop() == 0
        shutil.rmtree(home / "aggregator")
        path.unlink()
        process.start()
        wait_for("the file", path.exists)
    assert path.read_bytes() == before == harness.expected(spec, log)
    assert final.counts.failed["from the future"] == 10
    parked = [letter.reason async for letter in letters.read(stack.kafka) if member.encode() in letters.content(letter)]
    assert parked == []


async def test_results_folder_mended(stack: RunningStack, member: str, home: Path) -> None:
    """With no place for its file a job waits, says so, and ends by itself once there is one; other jobs go on."""
    spec = harness.sealed(member, 50)
    log = harness.results(member, 50)
    (home / "results").touch()  # a file in the way of the folder
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log)
        waiting = await harness.wait_status(stack.kafka, member, lambda found: found.message is not None)
        assert "result store" in str(waiting.message)
        assert waiting.state is JobState.RUNNING
        (home / "results").unlink()
        got = await harness.wait_file(home, stack.kafka, member)
        assert process.runs
    assert got == harness.expected(spec, log)


async def test_lost_store(stack: RunningStack, member: str, home: Path) -> None:
    """With its store and the file lost, it makes both again from the log, the same bytes."""
    spec = harness.sealed(member, 500)
    log = harness.shuffled(harness.results(member, 500))
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log)
        before = await harness.wait_file(home, stack.kafka, member)
        assert process.stop() == 0
        shutil.rmtree(home / "aggregator")
        path = result_path(home / "results", member)
        path.unlink()
        process.start()
        wait_for("the file", path.exists)
        assert path.read_bytes() == before == harness.expected(spec, log)


async def test_lost_store_of_a_finished_job(stack: RunningStack, member: str, home: Path) -> None:
    """With its store lost and the file there, a finished job stays finished: nothing is folded or reported again."""
    spec = harness.sealed(member, 500)
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, harness.results(member, 500))
        await harness.wait_file(home, stack.kafka, member)
        path = result_path(home / "results", member)
        written = path.stat()
        final = (await status.read_all(stack.kafka))[member]
        process.kill()
        shutil.rmtree(home / "aggregator")
        process.start()
        await process.says(f'"job": "{member}", "state": "completed", "event": "job adopted"')
        other = next(harness.beside(member))
        await harness.send_spec(stack.kafka, harness.sealed(other, 10))
        await harness.send_results(stack.kafka, harness.results(other, 10))
        await harness.wait_file(home, stack.kafka, other)
        assert path.stat().st_ino == written.st_ino
        assert (await status.read_all(stack.kafka))[member] == final


async def test_store_mended(stack: RunningStack, member: str, home: Path) -> None:
    """With no place for its store it waits and says so, and goes on by itself once there is one."""
    spec = harness.sealed(member, 50)
    log = harness.results(member, 50)
    (home / "aggregator").touch()
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log)
        await process.says('"on": "aggregator store"')
        (home / "aggregator").unlink()
        assert await harness.wait_file(home, stack.kafka, member) == harness.expected(spec, log)


@pytest.mark.parametrize("full", ["aggregator", "results"])
async def test_full_disk(stack: RunningStack, member: str, home: Path, full: str) -> None:
    """With the disk of its store or of the results full, work pauses and goes on by itself; no result is lost."""
    spec = harness.sealed(member, 3_000)
    log = harness.results(member, 3_000)
    folder = home / full
    folder.mkdir()
    with harness.small_disk(folder, megabytes=48) as disk, harness.aggregator(home, stack.kafka) as process:
        await process.says('"partition taken"', topics.DETECTIONS.partitions)
        with harness.no_space(folder, process, disk):
            await harness.send_spec(stack.kafka, spec)
            await harness.send_results(stack.kafka, log)
            await process.says('"event": "waiting"')
            waiting = await harness.wait_status(stack.kafka, member, lambda found: found.message is not None)
            assert "waiting for the" in str(waiting.message)
        assert await harness.wait_file(home, stack.kafka, member) == harness.expected(spec, log)
        process.kill()


async def test_second_aggregator_joins_and_first_is_killed(stack: RunningStack, member: str, home: Path) -> None:
    """A second aggregator takes its share in mid-job, and the rest when the first is killed: the same bytes."""
    specs = [harness.sealed(f"{member}-{number}", 400) for number in range(6)]
    logs = {spec.job: harness.shuffled(harness.results(spec.job, 400)) for spec in specs}
    with (
        harness.aggregator(home, stack.kafka) as first,
        harness.aggregator(home, stack.kafka, member="second", start=False) as second,
    ):
        for spec in specs:
            await harness.send_spec(stack.kafka, spec)
        for part in range(3):
            for spec in specs:
                await harness.send_results(stack.kafka, logs[spec.job][part * 160 : (part + 1) * 160])
            if part == 0:
                second.start()
                await second.says('"partition taken"')
            elif part == 1:
                first.kill()
        for spec in specs:
            assert await harness.wait_file(home, stack.kafka, spec.job) == harness.expected(spec, logs[spec.job])


async def test_cancelled(stack: RunningStack, member: str, home: Path) -> None:
    """A cancelled job ends within seconds with what was done; its file says so."""
    spec = harness.sealed(member, 100)
    log = harness.results(member, 60)
    with harness.aggregator(home, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, log)
        await harness.wait_status(stack.kafka, member, lambda found: found.counts.done == 60)
        cancelled = harness.sealed(member, 100, cancelled=True)
        await harness.send_spec(stack.kafka, cancelled)
        got = await harness.wait_file(home, stack.kafka, member, JobState.CANCELLED)
    assert got == harness.expected(cancelled, log)
    account = json.loads(got)["info"]["custom_metadata"]["trapstream"]
    assert (account["complete"], account["state"]) == (False, "cancelled")


async def test_job_of_no_images(stack: RunningStack, member: str, home: Path) -> None:
    """A sealed job of no images ends in a file with none."""
    spec = harness.sealed(member, 0)
    with harness.aggregator(home, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        got = await harness.wait_file(home, stack.kafka, member)
    assert got == harness.expected(spec, [])
    assert check(result_path(home / "results", member)) == []


async def test_results_before_their_job(stack: RunningStack, member: str, home: Path) -> None:
    """Results of a job that is not known yet are kept; it ends once its spec has come."""
    spec = harness.sealed(member, 40)
    log = harness.results(member, 40)
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_results(stack.kafka, log)
        await process.says('"partition taken"')
        assert not result_path(home / "results", member).exists()
        await harness.send_spec(stack.kafka, spec)
        assert await harness.wait_file(home, stack.kafka, member) == harness.expected(spec, log)


async def test_partial(stack: RunningStack, member: str) -> None:
    """Partial results are the first of each so far, in the final format, without an aggregator."""
    spec = harness.sealed(member, 1_000)
    log = harness.shuffled(harness.results(member, 700))
    await harness.send_results(stack.kafka, log)
    out = io.BytesIO()
    account = await partial(stack.kafka, spec, out, batch=100)
    assert account.done == 700
    assert out.getvalue() == harness.expected(spec, log)
    said = json.loads(out.getvalue())["info"]["custom_metadata"]["trapstream"]
    assert (said["complete"], said["state"]) == (False, "partial")
