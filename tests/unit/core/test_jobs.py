"""The table of jobs, where it is behind."""

import pytest

from tests.unit.values import job_spec
from trapstream.core import kafka, messages, topics
from trapstream.core.jobs import JobTable


async def test_a_table_that_is_behind_makes_no_job_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec that does not come is asked for once more: only a job that Kafka does not have is unknown."""
    spec = job_spec()
    asked: list[topics.Topic] = []

    async def read(_: str, topic: topics.Topic) -> dict[bytes, bytes]:
        asked.append(topic)
        return {spec.job.encode(): messages.encode(spec)}

    monkeypatch.setattr(kafka, "read_table", read)
    table = JobTable("127.0.0.1:1")
    assert await table.find(spec.job, seconds=0.01) == spec
    assert await table.find("another", seconds=0.01) is None
    assert await table.find("another", seconds=3600) is None, "it is waited for once"
    assert asked == [topics.JOBS, topics.JOBS]
