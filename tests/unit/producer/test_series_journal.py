"""The journal of live series: each image has one number, whatever comes in which order and after each restart."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from producer import cursor
from producer.live.live_job import Accepted, Arrival, Stage
from producer.live.series_journal import Refused, SeriesJournal
from tests.waiting import eventually
from trapstream.core import event_filter
from trapstream.core.event_filter import BadFilter
from trapstream.core.owner import owned
from trapstream.core.result_store import manifest_path, read_manifest
from trapstream.core.settings import ProducerSettings


@contextlib.asynccontextmanager
async def journals(home: Path, known: tuple[str, ...] = (), **changes: Any) -> AsyncIterator[SeriesJournal]:
    """At work over a home, gone afterwards as if killed."""
    found = SeriesJournal(ProducerSettings(home=home, **changes), lambda job: job in known)
    await found.load()
    work = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        work.cancel()
        await asyncio.wait({work})


def arrival(number: int, series: str = "ridge", file: str | None = None) -> Arrival:
    return Arrival(series, file or f"{number}.jpg", f"file:///i/{number}", f"sha256:{number}")


def at(places: list[Accepted]) -> list[tuple[int, bool]]:
    return [(place.seq, place.repeated) for place in places]


SENT = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b"]), st.booleans()), max_size=30)


@settings(max_examples=15)
@given(SENT)
async def test_each_image_has_one_place(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[int, str, bool]]
) -> None:
    """Images sent once or often, at once or in turn, before and after a restart: one line each, and its place stays."""
    home = tmp_path_factory.mktemp("home")
    places: dict[tuple[str, int], tuple[str, int, str]] = {}
    before = [each for each in sent if not each[2]]
    for group in (before, sent):
        async with journals(home) as found:
            answers = await asyncio.gather(*(found.accept([arrival(number, series)]) for number, series, _ in group))
        for (number, series, _), [place] in zip(group, answers, strict=True):
            where = (place.job, place.seq, place.file)
            assert places.setdefault((series, number), where) == where
    for series in {series for series, _ in places}:
        [job] = {job for (of, _), (job, _, _) in places.items() if of == series}
        lines = list(read_manifest(manifest_path(home / "results", job)))
        assert [line.key for line in lines] == [
            f"sha256:{number}"
            for _, number in sorted((seq, number) for (of, number), (_, seq, _) in places.items() if of == series)
        ]


async def test_many_uploads_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred that come together are on disk after a few, and each is told only after its own."""
    synced: list[int] = []
    real = os.fsync

    def counted(handle: int) -> None:
        real(handle)
        synced.append(handle)

    monkeypatch.setattr(os, "fsync", counted)
    async with journals(tmp_path) as found:
        await found.accept([arrival(0)])
        before = len(synced)
        places = await asyncio.gather(*(found.accept([arrival(number)]) for number in range(1, 101)))
        assert 1 <= len(synced) - before <= 10
    assert sorted(seq for [place] in places for seq, _ in at([place])) == list(range(1, 101))


async def test_a_full_job_is_followed_by_another(tmp_path: Path) -> None:
    """The next image goes into a second job of the period; one that is in the first is found there."""
    async with journals(tmp_path, live_most_images=3) as found:
        first = await found.accept([arrival(n) for n in range(5)])
        again = await found.accept([arrival(n) for n in range(5)])
    assert at(first) == [(0, False), (1, False), (2, False), (0, False), (1, False)]
    assert len({place.job for place in first}) == 2 and first[3].job == f"{first[0].job}-2"
    assert [place[:3] for place in again] == [place[:3] for place in first]
    assert all(place.repeated for place in again)


async def test_a_period_ends(tmp_path: Path) -> None:
    """What comes later goes into the next job; what was in the last one is still known there, also after a restart."""
    async with journals(tmp_path, live_period_seconds=1) as found:
        [old] = await found.accept([arrival(1)])
        first = found.jobs["ridge"][0]
        await asyncio.to_thread(_until, lambda: found.is_over(first))
        await found.close(first)
        await found.set_sealed(first)
        [new] = await found.accept([arrival(2)])
        [again] = await found.accept([arrival(1)])
    assert new.job != old.job and again[:3] == old[:3] and again.repeated
    assert first.record.spec.total == first.record.spec.images == 1
    async with journals(tmp_path, live_period_seconds=1) as found:
        [once_more] = await found.accept([arrival(1)])
        assert once_more[:3] == old[:3] and once_more.repeated
        assert found.jobs["ridge"][0].record.stage is Stage.SEALED


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline


async def test_a_job_of_that_name_is_not_written_again(tmp_path: Path) -> None:
    """Where the day's job was cancelled, or is known to Kafka alone, another number is taken."""
    async with journals(tmp_path) as found:
        [first] = await found.accept([arrival(1)])
        job = found.jobs["ridge"][0]
        await found.close(job)
        await found.forget(job)
        [second] = await found.accept([arrival(1)])
    assert second.job == f"{first.job}-2" and not second.repeated
    async with journals(tmp_path / "other", known=(first.job,)) as found:
        assert (await found.accept([arrival(1)]))[0].job == f"{first.job}-2"


async def test_an_image_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Whoever sent it is told; when the disk is back it gets the place that it would have had."""
    async with journals(tmp_path) as found:
        await found.accept([arrival(1)])
        path = found.jobs["ridge"][0].journal.path
        aside = path.rename(path.with_suffix(".aside"))
        path.mkdir()
        with pytest.raises(Refused, match="cannot be written"):
            await found.accept([arrival(2)])
        path.rmdir()
        aside.rename(path)
        assert at(await found.accept([arrival(1), arrival(2), arrival(2)])) == [(0, True), (1, False), (1, True)]


async def test_series_are_bounded(tmp_path: Path) -> None:
    """Beyond the most, a new one is refused, and those that are there go on."""
    async with journals(tmp_path, live_most_series=2) as found:
        await found.accept([arrival(1, "a"), arrival(1, "b")])
        with pytest.raises(Refused, match="which is the most"):
            await found.accept([arrival(1, "c")])
        assert at(await found.accept([arrival(2, "a")])) == [(1, False)]


async def test_a_journal_that_lost_published_lines_ends_its_job(tmp_path: Path) -> None:
    """Its numbers may not be given to other images: the job fails with a line, and another one begins."""
    async with journals(tmp_path) as found:
        [place] = await found.accept([arrival(1)])
    settings = ProducerSettings(home=tmp_path)
    cursor.write(cursor.live_path(settings.cursors, place.job), cursor.Cursor("", 7, 700))
    async with journals(tmp_path) as found:
        job = found.jobs["ridge"][0]
        assert job.record.stage is Stage.SEALING and "damaged" in (job.record.spec.failed or "")
        assert (await found.accept([arrival(2)]))[0].job != place.job


async def test_a_cancelled_jobs_images_are_new_again(tmp_path: Path) -> None:
    """Its file will not have them."""
    async with journals(tmp_path) as found:
        await found.accept([arrival(1)])
        job = found.jobs["ridge"][0]
        job.record = replace(job.record, spec=replace(job.record.spec, cancelled=True), stage=Stage.SEALING)
        assert at(await found.accept([arrival(1)])) == [(0, False)]


async def test_one_process_owns_the_series_of_a_store(tmp_path: Path) -> None:
    """Another one waits, and takes over when the first has gone; one that is told to stop meanwhile does."""
    order: list[str] = []

    async def own(name: str, until: asyncio.Event) -> None:
        async with owned(tmp_path / "live", "test does this"):
            order.append(name)
            await until.wait()

    over = asyncio.Event()
    first = asyncio.create_task(own("first", over))
    await eventually("the first", _truth(lambda: order == ["first"]))
    second, third = (asyncio.create_task(own(name, over)) for name in ("second", "third"))
    await asyncio.wait({second, third}, timeout=0.2)
    assert order == ["first"]
    third.cancel()
    over.set()
    await asyncio.wait({first, second, third})
    assert order == ["first", "second"] and third.cancelled()


def _truth(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return condition()

    return look


async def test_who_is_told_is_noted_before_the_image(tmp_path: Path) -> None:
    """A webhook stands in the job's spec once the upload is answered, and after a restart; a wrong one is refused."""
    hook = event_filter.webhook("https://example.org/a?token=b", "category=animal")
    async with journals(tmp_path) as found:
        await found.accept([arrival(0)])
        found.jobs["ridge"][0].announced = True
        await found.accept([arrival(1)], hook)
        job = found.jobs["ridge"][0]
        assert job.record.spec.webhooks == (hook,) and not job.announced, "Kafka is told again"
        with pytest.raises(BadFilter, match="yeti"):
            await found.accept([arrival(2)], event_filter.webhook("https://example.org/b", "category=yeti"))
        other, worse = (
            found.accept([arrival(3)]),
            found.accept([arrival(4)], event_filter.webhook("https://c", "category=x")),
        )
        places, error = await asyncio.gather(other, worse, return_exceptions=True)
        assert not isinstance(places, BaseException) and at(places) == [(2, False)] and isinstance(error, BadFilter)
    async with journals(tmp_path) as found:
        assert found.jobs["ridge"][0].record.spec.webhooks == (hook,)


async def test_each_request_has_its_own_error(tmp_path: Path) -> None:
    """Of two requests of one series in one group each is told its own reason, and no image of them counts."""
    async with journals(tmp_path) as found:
        await found.accept([arrival(0)])
        wrong = [event_filter.webhook(f"https://{name}", f"category={name}") for name in ("yeti", "sasquatch")]
        errors = await asyncio.gather(
            *(found.accept([arrival(number)], hook) for number, hook in enumerate(wrong, 1)), return_exceptions=True
        )
        for error, name in zip(errors, ("yeti", "sasquatch"), strict=True):
            assert isinstance(error, BadFilter) and name in str(error)
        assert found.jobs["ridge"][0].count == 1


async def test_a_request_that_is_refused_counts_for_nothing(tmp_path: Path) -> None:
    """Where its second image finds no series to go to, the first one is not counted either, and can come again."""
    async with journals(tmp_path, live_most_series=1) as found:
        await found.accept([arrival(0)])
        with pytest.raises(Refused, match="which is the most"):
            await found.accept([arrival(1), arrival(1, "another")])
        assert at(await found.accept([arrival(2), arrival(1)])) == [(1, False), (2, False)]
