"""Making a job while Kafka refuses it, or is away: whatever comes of it, no image is done twice."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration import outages
from tests.integration.outages import Server
from tests.integration.producer.helpers import MODEL, make_job, published, sealed, spec_when
from tests.integration.service import service
from tests.stacks import RunningStack
from trapstream.core import status
from trapstream.core.errors import Retryable
from trapstream.core.messages import JobSpec, Lane
from trapstream.core.result_store import manifest_path
from trapstream.jobs import submit

JOB = "first-job"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    """A Kafka of this test's own, and its address: nobody starts it again but the test."""
    async with outages.broker(tmp_path / "broker") as made:
        yield made


def manifests(home: Path) -> list[Path]:
    return sorted((home / "results").glob("*.manifest.jsonl"))


async def test_a_refused_job_leaves_no_manifest(stack: RunningStack, tmp_path: Path) -> None:
    """Where Kafka says no, the message says that there is no job, and its manifest is gone."""
    (tmp_path / "list.txt").write_text("a.jpg\n")
    sources = [str(tmp_path / "list.txt")]
    with pytest.raises(Retryable, match="no job was made"):
        await submit.submit(
            stack.kafka, tmp_path / "results", sources, name="x" * 2_000_000, lane=Lane.BULK, model=MODEL,
            threshold=0.1, anyway=True,
        )  # fmt: skip
    assert manifests(tmp_path) == []


@pytest.mark.parametrize("away", [1.5, 60.0], ids=["for a moment", "for long"])
async def test_kafka_goes_away_while_a_job_is_made(
    broker: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: float
) -> None:
    """The job is there with its manifest, or its owner is told and whatever Kafka has of it is never done: then the
    same images submitted again are done once."""
    server, servers = broker
    monkeypatch.setattr(submit, "_WRITE_SECONDS", 1.0)
    (tmp_path / "20.txt").write_text("".join(f"{number}.jpg\n" for number in range(20)))

    def stop(_images: int, _bytes: int) -> None:
        server.send(signal.SIGSTOP)
        monkeypatch.setattr(submit, "_ANSWER_SECONDS", 5.0)
        asyncio.get_running_loop().call_later(away, server.send, signal.SIGCONT)

    async def attempt() -> JobSpec | None:
        try:
            return await submit.submit(
                servers, tmp_path / "results", [str(tmp_path / "20.txt")], name="test", lane=Lane.BULK, model=MODEL,
                threshold=0.005, anyway=True, lacking=stop, new_id=lambda _: JOB,
            )  # fmt: skip
        except Retryable as error:
            assert JOB in str(error) and ("not known" in str(error)) == (away > 5)
            return None
        finally:
            server.send(signal.SIGCONT)

    made = await attempt()
    assert manifests(tmp_path) == ([] if made is None else [manifest_path(tmp_path / "results", JOB)])
    monkeypatch.setattr(submit, "_WRITE_SECONDS", 60.0)
    monkeypatch.setattr(submit, "_ANSWER_SECONDS", 60.0)
    again = made or await make_job(servers, tmp_path, 20)
    with service("producer", tmp_path, servers):
        assert (await spec_when(servers, again.job, sealed)).total == 20
        last = await make_job(servers, tmp_path, 1)
        await spec_when(servers, last.job, sealed)
    if made is None:
        assert await published(servers, JOB) == []
        late = (await status.read_specs(servers)).get(JOB)
        assert late is None or late.total is None
