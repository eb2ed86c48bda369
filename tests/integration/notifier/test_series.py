"""The stream of a series over the real log: jobs that follow each other, overlap, are cancelled, and never end it."""

import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from notifier.job_sequence import MOST_TOGETHER
from tests.integration.aggregator import harness
from tests.integration.notifier.listener import Event, Listener, listening
from tests.integration.notifier.test_events import status
from tests.integration.outages import free_port
from tests.integration.service import service
from tests.stacks import RunningStack
from tests.unit.values import MODEL
from tests.waiting import eventually
from trapstream.core import kafka
from trapstream.core.messages import JobSpec, JobState


def hears(listener: Listener, images: Sequence[str], job_events: int) -> Callable[[], Awaitable[bool]]:
    """Whether it has heard of so many images and ended jobs."""

    async def look() -> bool:
        return len(listener.images) >= len(images) and len(ended(listener.events)) >= job_events

    return look


def ended(events: Sequence[Event]) -> list[tuple[str, str]]:
    """The jobs that a stream said to have ended."""
    return [(event["data"]["job"], event["data"]["state"]) for event in events if event["event"] == "job"]


async def test_a_series_over_its_jobs(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """Over days, one of them cancelled and one without images, and a death between: each result once, and no end."""
    servers, port = stack.kafka, free_port()
    await kafka.create_topics(servers)
    began = time.time()

    def day(name: str, number: int, images: int | None = None, **changes: Any) -> JobSpec:
        return replace(
            harness.sealed(f"{member}-{name}", 0), images=images or 0, total=images, series=member,
            created=began + number / 1_000, **changes,
        )  # fmt: skip

    async def answered(spec: JobSpec, first: int, after: int) -> None:
        await harness.send_results(servers, harness.results(spec.job, after)[first:])

    def named(spec: JobSpec, images: int) -> list[str]:
        return [f"{spec.job}/{seq}" for seq in range(images)]

    one, two = day("2026-11-01", 1), day("2026-11-02", 2)
    again, four = day("2026-11-02-2", 3), day("2026-11-04", 4)
    await harness.send_spec(servers, one)
    await answered(one, 0, 10)
    with service("notifier", tmp_path, servers, member, events_port=str(port)) as notifier:
        async with (
            listening(port, member, of="series") as (listener, over),
            listening(port, member, "?cooldown=3600", of="series") as (cool, _),
        ):
            await eventually("the first day", hears(listener, named(one, 10), 0))
            # The second day's images do not wait for the first one's last.
            await harness.send_spec(servers, two)
            await answered(two, 0, 6)
            await eventually("both days", hears(listener, [*named(one, 10), *named(two, 6)], 0))
            between = listener.last
            await answered(one, 10, 12)
            await harness.send_spec(servers, day("2026-11-01", 1, 12))
            await harness.send_status(servers, status(one.job, 12))
            await eventually("the end of a day", hears(listener, [*named(one, 12), *named(two, 6)], 1))
            late = listener.last
            assert between is not None and late is not None and one.job in between and one.job not in late
            # The second day is cancelled while the notifier is dead; the day after it has no images.
            notifier.kill()
            cut = int(late.rpartition(":")[2])
            await answered(two, 6, 9)
            await harness.send_spec(servers, replace(two, cancelled=True))
            await harness.send_status(servers, replace(status(two.job, 6), state=JobState.CANCELLED, cut=cut))
            await harness.send_spec(servers, again)
            await answered(again, 0, 3)
            await harness.send_spec(servers, day("2026-11-02-2", 3, 3))
            await harness.send_status(servers, status(again.job, 3))
            notifier.start()
            whole = [*named(one, 12), *named(two, 6), *named(again, 3)]
            await eventually("what came meanwhile", hears(listener, whole, 3))
            await harness.send_spec(servers, four)
            await answered(four, 0, 5)
            whole += named(four, 5)
            await eventually("the fourth day", hears(listener, whole, 3))
            await eventually("the cool one", hears(cool, [""], 3))
            assert not over.done() and not listener.gaps
        jobs = [(one.job, "completed"), (two.job, "cancelled"), (again.job, "completed")]
        assert sorted(listener.images) == sorted(whole) and ended(listener.events) == ended(cool.events) == jobs
        assert cool.images == [f"{one.job}/0"], "its only camera, once in an hour"
        # Who was away for days gets the rest in order; who comes new begins with the open job, or with what follows.
        for last, query, rest, over_now in (
            (between, "", [*named(one, 12)[10:], *whole[18:]], 3),
            (late, "", whole[18:], 2),
            (late, "?cooldown=3600", [], 2),
            (f"{again.job}:end", "", whole[21:], 0),
            (None, "", whole[21:], 0),
        ):
            async with listening(port, member, query, last, of="series") as (back, _):
                await eventually("the rest", hears(back, rest, over_now))
            assert (back.images, back.gaps) == (rest, []), (last, query)
        async with listening(port, member, "?from=now", of="series") as (new, _):

            async def begun() -> bool:
                return new.comments > 0

            await eventually("the stream", begun)
            await answered(four, 5, 6)
            await eventually("the new one", hears(new, [""], 0))
            assert new.images == [f"{four.job}/5"]


async def test_jobs_that_do_not_end_and_one_of_another_model(stack: RunningStack, member: str, tmp_path: Path) -> None:
    """They hold up nobody: the first is left, with a word, once eight others have begun; what a model lacks is said."""
    servers, port, began = stack.kafka, free_port(), time.time()
    await kafka.create_topics(servers)
    # Of one partition: who comes again has to pass what the other jobs were answered, and waits for no heartbeat then.
    names = [member, *itertools.islice(harness.beside(member), MOST_TOGETHER + 1)]

    def numbered(number: int) -> JobSpec:
        model = replace(MODEL, classes={"1": "deer"}) if number == 1 else MODEL
        spec = harness.sealed(names[number], 0, series=member, model=model, created=began + number / 1_000)
        return replace(spec, total=None)

    async def opened(number: int, images: int) -> list[str]:
        await harness.send_spec(servers, numbered(number))
        await harness.send_results(servers, harness.results(names[number], images))
        return [f"{names[number]}/0"] if number != 1 else []

    whole = await opened(0, 1)
    with service(
        "notifier", tmp_path, servers, member, events_port=str(port), events_heartbeat_seconds="600"
    ) as notifier:
        await notifier.says('"ready"')
        async with listening(port, member, "?category=animal", of="series") as (listener, _):
            await eventually("the first", hears(listener, whole, 0))
            for number in range(1, MOST_TOGETHER + 1):
                whole += await opened(number, 1)
                await eventually("the next", hears(listener, whole, 0))
            said = [(event["data"]["job"], event["data"]["error"]) for event in listener.gaps]
            assert [job for job, _ in said] == [names[1], names[0]]
            assert "this model has deer" in said[0][1] and "does not end" in said[1][1]
        await opened(0, 4)  # of which three are new, and one has an animal
        whole += await opened(MOST_TOGETHER + 1, 1)
        async with listening(port, member, "?category=animal", listener.last, of="series") as (again, _):
            await eventually("the last", hears(again, [""], 0))
        assert listener.images + again.images == whole
