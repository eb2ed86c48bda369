"""Repair on a real Kafka: references that are lost on the way are published again, or given up with a reason."""

import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.integration.aggregator import harness
from tests.losing import lanes, lose
from tests.stacks import RunningStack
from tests.waiting import eventually
from trapstream.core import kafka, messages, topics
from trapstream.core.errors import Reason
from trapstream.core.messages import ImageRef, ImageResult, JobSpec, Lane, Outcome, StageTimes
from trapstream.core.result_store import ManifestLine, manifest_path, result_path
from trapstream.results.entry import failure_entry
from trapstream.results.ledger import disagreements
from trapstream.results.read import open_result, verify


@pytest.fixture(autouse=True)
async def broker(stack: RunningStack) -> None:
    await kafka.create_topics(stack.kafka)
    await lose(stack.kafka)  # what other tests left in the lanes is answered by nobody here


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAPSTREAM_REPAIR_SECONDS", "0.4")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def stored(home: Path, job: str, images: int, **changes: object) -> JobSpec:
    """A sealed job with its manifest in the result store."""
    path = manifest_path(home / "results", job)
    path.parent.mkdir(exist_ok=True)
    lines = [ManifestLine(file=f"{seq}.jpg", uri=f"file:///photos/{seq}.jpg", meta="hill") for seq in range(images)]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return harness.sealed(job, images, manifest_sha256=digest, **changes)


async def waiting(servers: str, job: str) -> list[ImageRef]:
    """The references of the job that stand in the lanes."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    try:
        consumer.assign(lanes())
        await consumer.seek_to_beginning(*lanes())
        ends = await consumer.end_offsets(lanes())
        found: list[ImageRef] = []
        while [part for part in lanes() if await consumer.position(part) < ends[part]]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [messages.decode(record.value, ImageRef) for record in records]
        return [ref for ref in found if ref.job == job]
    finally:
        await consumer.stop()


def answer(ref: ImageRef) -> ImageResult:
    """What a consumer would say."""
    entry = msgspec.Raw(msgspec.json.encode({"file": ref.file, "meta": ref.meta, "detections": []}))
    return ImageResult(
        job=ref.job, seq=ref.seq, outcome=Outcome.EMPTY, reason=None, entry=entry, model="tiny@1", ms=StageTimes()
    )  # fmt: skip


def account_of(home: Path, job: str) -> dict[str, int]:
    """What `verify` says of the job's file against its manifest: failures by reason; it must be complete."""
    path = result_path(home / "results", job)
    lines = manifest_path(home / "results", job).read_text().splitlines()
    found = verify(path, lambda: (json.loads(line)["file"] for line in lines))
    assert found.complete
    assert disagreements(found, open_result(path).account) == []
    return found.failed


async def test_lost_references_are_published_again(stack: RunningStack, member: str, home: Path) -> None:
    """References that are gone before a consumer reads them come again, those alone, and the job ends complete."""
    spec = stored(home, member, 5_000, lane=Lane.LIVE)
    answered = [answer(ImageRef(job=member, seq=seq, file=f"{seq}.jpg", uri="", meta="hill")) for seq in range(4_500)]
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, answered)
        refs = await eventually("all of them", lambda: _all(stack.kafka, member, 500))
        assert sorted(ref.seq for ref in refs) == list(range(4_500, 5_000))
        assert {(ref.file, ref.uri, ref.meta) for ref in refs if ref.seq == 4_700} == {
            ("4700.jpg", "file:///photos/4700.jpg", "hill")
        }
        process.kill()  # nothing is published while they stand in the lane unread: neither now nor after a new start
        process.start()
        await harness.send_results(stack.kafka, [answer(ref) for ref in refs])
        got = await harness.wait_file(home, stack.kafka, member)
    assert got == harness.expected(spec, answered + [answer(ref) for ref in sorted(refs, key=lambda ref: ref.seq)])
    assert account_of(home, member) == {}


async def test_given_up_after_two_attempts(stack: RunningStack, member: str, home: Path) -> None:
    """What gets lost each time is published twice more and then fails with its reason; killed between, it counts on."""
    spec = stored(home, member, 40)
    answered = [answer(ImageRef(job=member, seq=seq, file=f"{seq}.jpg", uri="", meta="hill")) for seq in range(30)]
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, spec)
        await harness.send_results(stack.kafka, answered)
        for attempt in (1, 2):
            refs = await eventually("all of them", lambda: _all(stack.kafka, member, 10))
            assert sorted(ref.seq for ref in refs) == list(range(30, 40))
            said = f'"attempts": {attempt - 1}, "event": "repair"'
            await process.says(said)
            process.kill()
            await lose(stack.kafka)
            process.start()
        got = await harness.wait_file(home, stack.kafka, member)
        assert await waiting(stack.kafka, member) == []
    lost = [
        ImageResult(
            job=member, seq=seq, outcome=Outcome.FAILED, reason=Reason.LOST,
            entry=msgspec.Raw(failure_entry(f"{seq}.jpg", "hill", Reason.LOST)), model="", ms=StageTimes(),
        )
        for seq in range(30, 40)
    ]  # fmt: skip
    assert got == harness.expected(spec, answered + lost)
    assert account_of(home, member) == {"never answered": 10}


async def test_a_manifest_that_is_gone(stack: RunningStack, member: str, home: Path) -> None:
    """Without its manifest a job cannot be repaired: its status says so, and goes on once it is back."""
    spec = stored(home, member, 5)
    path = manifest_path(home / "results", member)
    path.rename(home / "elsewhere")
    with harness.aggregator(home, stack.kafka):
        await harness.send_spec(stack.kafka, spec)
        told = await harness.wait_status(stack.kafka, member, lambda found: found.message is not None)
        assert "manifest cannot be read" in str(told.message)
        (home / "elsewhere").rename(path)
        refs = await eventually("all of them", lambda: _all(stack.kafka, member, 5))
        await harness.send_results(stack.kafka, [answer(ref) for ref in refs])
        await harness.wait_file(home, stack.kafka, member)


async def test_a_job_that_had_ended(stack: RunningStack, member: str, home: Path) -> None:
    """A job that had ended, and whose file, store and results are all gone, is not done again; its status says so."""
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_spec(stack.kafka, stored(home, member, 7))
        await harness.send_results(stack.kafka, harness.results(member, 7))
        await harness.wait_file(home, stack.kafka, member)
        process.kill()
        shutil.rmtree(home / "aggregator")
        result_path(home / "results", member).unlink()
        await lose(stack.kafka, [TopicPartition(topics.DETECTIONS.name, kafka.job_partition(member))])
        process.start()
        told = await harness.wait_status(stack.kafka, member, lambda found: found.message is not None)
        assert "had ended before" in str(told.message)
        assert await waiting(stack.kafka, member) == []


async def test_results_of_an_unknown_job(
    stack: RunningStack, member: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results whose job is not made are forgotten after a while; if it is made after all, it gets its images again."""
    monkeypatch.setenv("TRAPSTREAM_UNKNOWN_SECONDS", "0.4")
    refs = [ImageRef(job=member, seq=seq, file=f"{seq}.jpg", uri="", meta="hill") for seq in range(300)]
    with harness.aggregator(home, stack.kafka) as process:
        await harness.send_results(stack.kafka, [answer(ref) for ref in refs])
        await process.says(f'"job": "{member}", "partition"')
        await harness.send_spec(stack.kafka, stored(home, member, 300))
        again = await eventually("all of them", lambda: _all(stack.kafka, member, 300))
        await harness.send_results(stack.kafka, [answer(ref) for ref in again])
        await harness.wait_file(home, stack.kafka, member)
    assert account_of(home, member) == {}


async def _all(servers: str, job: str, count: int) -> list[ImageRef]:
    refs = await waiting(servers, job)
    return refs if len(refs) >= count else []
