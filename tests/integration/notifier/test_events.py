"""Streams of events over the real log: none left out, none twice, whoever dies or does not read."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiokafka import TopicPartition

from tests.integration.aggregator import harness
from tests.integration.notifier.listener import listening
from tests.integration.outages import free_port
from tests.integration.service import Service, service
from tests.losing import lose
from tests.stacks import RunningStack
from tests.unit.values import image_result
from tests.waiting import eventually, wait_for
from trapstream.core import kafka, topics
from trapstream.core.messages import Counts, ImageResult, JobState, JobStatus, Outcome

IMAGES = 600


def status(job: str, images: int) -> JobStatus:
    """The last status of a job of so many images."""
    return JobStatus(job=job, state=JobState.COMPLETED, total=images, counts=Counts(empty=images))


async def test_a_stream_goes_on_after_a_kill(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """Each image once and in the log's order, though the notifier is killed while they come, and the end at last."""
    await kafka.create_topics(stack.kafka)
    other, port = next(harness.beside(member)), free_port()
    log = harness.shuffled(harness.results(member, IMAGES))
    await harness.send_spec(stack.kafka, harness.sealed(member, IMAGES))
    await harness.send_results(stack.kafka, [*log[:100], *harness.results(other, 50)])
    with service("notifier", tmp_path, stack.kafka, member, events_port=str(port)) as notifier:
        async with listening(port, member) as (listener, over):
            for start in range(100, len(log), 100):
                told = len(listener.images)
                await harness.send_results(stack.kafka, [*log[start : start + 100], *harness.results(other, 20)])
                if start in (200, 500):

                    async def more(than: int = told) -> bool:
                        return len(listener.images) > than

                    await eventually("more events", more, pause=0.001)
                    notifier.kill()
                    notifier.start()
            await harness.send_status(stack.kafka, status(member, IMAGES))
            await asyncio.wait_for(over, 30)
        first = list(dict.fromkeys(f"{member}/{answer.seq}" for answer in log))
        assert len(listener.statuses) >= 3
        # An image that was done twice may come twice, on both sides of a death: the same name tells.
        assert list(dict.fromkeys(listener.images)) == first
        places = [int(event["id"].split(":")[1]) for event in listener.events[:-1]]
        assert places == sorted(set(places))
        assert listener.events[-1]["data"]["state"] == "completed" and listener.events[-1]["id"] == "end"
        async with listening(port, member, last="end") as (again, over):
            await asyncio.wait_for(over, 30)
        assert again.statuses == [204]
        # From the beginning, in one piece: what the killed one told.
        async with listening(port, member) as (whole, over):
            await asyncio.wait_for(over, 30)
        assert whole.images == first
        assert notifier.stop() == 0


@pytest.fixture(scope="module")
def notifier(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, int]]:
    """One with little patience and little room, and its port."""
    port = free_port()
    small: dict[str, Any] = {"events_patience_seconds": "0.5", "events_clients": "2", "events_heartbeat_seconds": "0.2"}
    home = tmp_path_factory.mktemp("notifier")
    with service("notifier", home, stack.kafka, "events", events_port=str(port), **small) as process:
        wait_for("the notifier", lambda: '"event": "ready"' in process.log)
        yield process, port


def fat(job: str, seq: int, camera: str = "C7") -> ImageResult:
    """A result with a detection, and much beside it."""
    found = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    facts = json.dumps({"camera": camera, "meta": "x" * 4_000})
    entry = json.dumps({"file": f"{seq}.jpg", "meta": facts, "detections": [found]}).encode()
    return image_result(seq, job=job, outcome=Outcome.DETECTED, entry=msgspec.Raw(entry))


async def test_who_does_not_read_is_cut_off_and_others_are_not(
    stack: RunningStack, member: str, notifier: tuple[Service, int]
) -> None:
    """It costs a bounded queue for a moment; whoever reads gets all of it meanwhile, and so does it when it resumes."""
    process, port = notifier
    await harness.send_spec(stack.kafka, harness.sealed(member, 600))
    await process.says('"ready"')
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(f"GET /v1/jobs/{member}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with listening(port, member) as (listener, over):
            await harness.send_results(stack.kafka, [fat(member, seq) for seq in range(600)])
            await harness.send_status(stack.kafka, status(member, 600))
            await asyncio.wait_for(over, 30)
            assert listener.images == [f"{member}/{seq}" for seq in range(600)]
        await process.says("it does not read")
        heard = re.search(r"event: result\nid: (\S+)", deaf.recv(1 << 20).decode(errors="replace"))
    assert heard is not None
    async with listening(port, member, "?camera=C7", last=heard[1]) as (again, over):
        await asyncio.wait_for(over, 30)
    assert again.images == listener.images[1:]


async def test_a_cool_down_holds_across_a_reconnection(
    stack: RunningStack, member: str, notifier: tuple[Service, int]
) -> None:
    """Each camera rings once, however often their listener comes again, and a quiet stream shows that it lives."""
    _, port = notifier
    await harness.send_spec(stack.kafka, harness.sealed(member, 40))
    await harness.send_results(stack.kafka, [fat(member, seq, f"C{seq % 2}") for seq in range(20)])
    async with listening(port, member, "?cooldown=3600") as (listener, _):

        async def quiet() -> bool:
            return len(listener.events) == 2 and listener.comments >= 3

        await eventually("heartbeats", quiet)
    await harness.send_results(stack.kafka, [fat(member, seq, f"C{seq % 3}") for seq in range(20, 40)])
    await harness.send_status(stack.kafka, status(member, 40))
    async with listening(port, member, "?cooldown=3600", last=listener.last) as (again, over):
        await asyncio.wait_for(over, 30)
    assert [event["data"].get("camera") for event in [*listener.events, *again.events]] == ["C0", "C1", "C2", None]


async def test_what_is_no_request_for_events(stack: RunningStack, member: str, notifier: tuple[Service, int]) -> None:
    """One line of JSON each: no such job, no such filter, an id of another job, no room; and a web page is refused."""
    _, port = notifier
    await harness.send_spec(stack.kafka, harness.sealed(member, 1, series=member))
    wrong: list[tuple[str, dict[str, str], int, str]] = [
        ("/v1/jobs/nobody-1/events", {}, 404, "no job"),
        (f"/v1/jobs/{member}/events?category=yeti", {}, 400, "animal, person"),
        (f"/v1/jobs/{member}/events?colour=red", {}, 400, "no filter"),
        (f"/v1/jobs/{member}/events", {"Last-Event-ID": "x"}, 400, "id of an event"),
        (f"/v1/jobs/{member}/events", {"Origin": "https://evil.example"}, 403, "this machine"),
        ("/v1/jobs", {}, 404, "GET /v1/jobs/JOB/events"),
        ("/v1/series/nobody/events", {}, 404, "no series"),
        (f"/v1/series/{member}/events?category=yeti", {}, 400, "animal, person"),
        (f"/v1/series/{member}/events", {"Last-Event-ID": "0:7"}, 400, "such as ridge-2026-11-23"),
    ]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path, headers, code, text in wrong:
            async with session.get(path, headers=headers) as answer:
                assert (answer.status, text in (await answer.json())["error"]) == (code, True), path
        async with listening(port, member) as (one, _), listening(port, member) as (two, _):

            async def both() -> bool:
                return one.comments > 0 and two.comments > 0

            await eventually("both", both)
            async with session.get(f"/v1/jobs/{member}/events") as answer:
                assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1

        async def room() -> bool:
            async with session.get(f"/v1/jobs/{member}/events") as answer:
                return answer.status == 200

        await eventually("room again", room)


async def test_what_the_log_has_no_more_is_said(
    stack: RunningStack, member: str, notifier: tuple[Service, int]
) -> None:
    """Who comes again too late is told that results may be missing, and gets those that are there."""
    _, port = notifier
    part = kafka.job_partition(member)
    await harness.send_spec(stack.kafka, harness.sealed(member, 10))
    await harness.send_results(stack.kafka, harness.results(member, 5))
    await lose(stack.kafka, [TopicPartition(topics.DETECTIONS.name, part)])
    await harness.send_results(stack.kafka, harness.results(member, 10)[5:])
    await harness.send_status(stack.kafka, status(member, 10))
    async with listening(port, member, last=f"{part}:0") as (listener, over):
        await asyncio.wait_for(over, 30)
    assert [event["event"] for event in listener.events] == ["gap", *["result"] * 5, "end"]
    assert "no longer kept" in listener.events[0]["data"]["error"]
    async with listening(port, member) as (listener, over):
        await asyncio.wait_for(over, 30)
    assert [event["event"] for event in listener.events] == [*["result"] * 5, "gap", "end"]
    assert "5 results of the job" in listener.events[5]["data"]["error"]
    async with listening(port, member, last=f"{part}:999999999") as (listener, over):
        await asyncio.wait_for(over, 30)
    assert [event["event"] for event in listener.events] == ["gap", "end"]
    assert "Kafka has lost results" in listener.events[0]["data"]["error"]


async def test_a_job_that_was_stopped(stack: RunningStack, member: str, notifier: tuple[Service, int]) -> None:
    """A stream has what its file has: results after the place where the job was cut do not count."""
    _, port = notifier
    await harness.send_spec(stack.kafka, harness.sealed(member, 10, cancelled=True))
    await harness.send_results(stack.kafka, harness.results(member, 6))
    async with listening(port, member) as (first, _):

        async def six() -> bool:
            return len(first.images) == 6

        await eventually("what was done", six)
    cut = int(first.events[-1]["id"].split(":")[1]) + 1
    await harness.send_results(stack.kafka, harness.results(member, 10)[6:])
    stopped = msgspec.structs.replace(status(member, 6), state=JobState.CANCELLED, cut=cut)
    await harness.send_status(stack.kafka, stopped)
    async with listening(port, member) as (listener, over):
        await asyncio.wait_for(over, 30)
    assert listener.images == first.images and listener.events[-1]["data"]["state"] == "cancelled"
    async with listening(port, member, last=listener.events[2]["id"]) as (again, over):
        await asyncio.wait_for(over, 30)
    assert again.images == first.images[3:] and len(again.events) == 4
