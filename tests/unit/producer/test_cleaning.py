"""Which uploaded images are removed: those that no job needs, and never one that an upload has in hand."""

import asyncio
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.live import incoming, retention
from producer.live.cleaning import Cleaner
from producer.live.incoming import InHand, Spool
from producer.live.live_job import Arrival
from producer.live.series_journal import SeriesJournal
from tests.unit.producer.test_door import NOBODY
from tests.unit.producer.test_series_journal import journals
from tests.unit.values import job_spec
from trapstream.core import messages, topics
from trapstream.core.jobs import JobTable
from trapstream.core.messages import Counts, JobState, JobStatus
from trapstream.core.result_store import ManifestLine, incoming_folder, manifest_path
from trapstream.core.settings import ProducerSettings

DAY = 24 * 3600.0
JPEG = b"\xff\xd8\xff\xe0"
moments = st.floats(0, 100)


@given(st.booleans(), st.booleans(), st.none() | moments, moments, moments, moments)
def test_who_needs_an_image(
    held: bool, known: bool, ended: float | None, written: float, before: float, forgotten: float
) -> None:
    """Any job that may still be asked, until it ended so long ago; who makes the time longer keeps more."""
    job = retention.JobNow(held, known, ended, written)
    needs = retention.needs(job, before, forgotten)
    if held or (ended is None and known):
        assert needs
    elif ended is not None:
        assert needs == (ended >= before)
    else:
        assert needs == (written >= forgotten)
    assert needs <= retention.needs(job, before - 1, forgotten - 1)


@given(st.lists(st.binary(max_size=20)), st.text(max_size=30), st.integers(0, 300))
def test_a_manifest_names_its_images(contents: list[bytes], file: str, cut: int) -> None:
    """Whatever else stands in it, also where its last line is torn; a name that is none of an image is no image's."""
    names = [hashlib.sha256(content).hexdigest() for content in contents]
    lines = [
        messages.encode(ManifestLine(file=file, uri=f"file:///home/results/incoming/{name[:2]}/{name}.jpeg")) + b"\n"
        for name in names
    ]
    assert [retention.named(line) for line in lines] == [[name] for name in names]
    assert set(retention.named(b"".join(lines)[:-cut] if cut else b"".join(lines))) <= set(names)
    assert [retention.name_of(f"{name}.jpeg") for name in names] == names
    assert retention.name_of(file) is None


class Job(NamedTuple):
    """A job that names some of the images."""

    kind: str
    images: frozenset[int]


JOBS = st.lists(
    st.builds(
        Job,
        st.sampled_from(["open", "answers", "bulk", "just ended", "ended", "cancelled", "unknown", "forgotten"]),
        st.frozensets(st.integers(0, 9), max_size=5),
    ),
    max_size=6,
)
NEEDED = {"open", "answers", "bulk", "just ended", "unknown"}
"""A job that answers ended long ago and is the last of its series: an image that comes again is answered from it."""


@settings(max_examples=40, deadline=None)
@given(JOBS, st.frozensets(st.integers(0, 9)))
async def test_what_goes(tmp_path_factory: pytest.TempPathFactory, jobs: list[Job], young: frozenset[int]) -> None:
    """Old images that only jobs name which ended long ago, or none: all of them, and no other; twice is as once."""
    home = tmp_path_factory.mktemp("home")
    files = {number: placed(home, bytes([number]), 0.0 if number in young else 40 * DAY) for number in range(10)}
    async with journals(home, upload_keep_days=30) as found:
        cleaner, table = cleaning(home, found, InHand())
        for number, job in enumerate(jobs):
            name = f"job-{number}"
            if job.kind in {"open", "answers"}:
                series = f"s{number}"
                await found.accept([arrival(series, files[image]) for image in sorted(job.images)])
                if job.kind == "answers" and job.images:
                    [live] = found.jobs[series]
                    await found.close(live)
                    await found.set_sealed(live)
                    cleaner.ended.jobs[live.id] = ended(live.id, 31 * DAY)
            else:
                known(home, table, cleaner, name, job, [files[image] for image in sorted(job.images)])
        needed = young.union(*(job.images for job in jobs if job.kind in NEEDED))
        for _ in range(2):
            await cleaner.round()
            assert {number for number, path in files.items() if path.exists()} == needed


async def test_an_upload_while_images_are_removed_keeps_its_own(tmp_path: Path) -> None:
    """However the two meet: each image that was accepted has its file; without the setting none ever goes."""
    in_hand = InHand()
    async with journals(tmp_path, upload_keep_days=0) as found:
        cleaner, _ = cleaning(tmp_path, found, in_hand, days=0)
        incoming.prepare(tmp_path / "results")
        removed = 0
        for turn in range(15):
            contents = [JPEG + bytes([turn, number]) for number in range(20)]
            paths = [placed(tmp_path, content, DAY) for content in contents]  # whose sender never came back

            async def upload(content: bytes, series: str) -> None:
                with Spool(tmp_path / "results", 1_000, in_hand) as spool:
                    await spool.add(content)
                    kept = await spool.keep()
                    await found.accept([Arrival(series, "a.jpg", kept.uri, f"sha256:{kept.sha256}")])

            uploads = [upload(content, f"s{turn}") for content in contents[:15]]
            await asyncio.gather(*uploads[:7], cleaner.round(), *uploads[7:])
            assert all(path.exists() for path in paths[:15])
            removed += sum(not path.exists() for path in paths[15:])
        assert removed == 15 * 5
        keeper, _ = cleaning(tmp_path, found, in_hand, days=None)
        left = placed(tmp_path, JPEG, 1e9)
        await keeper.round()
        assert left.exists()


async def test_what_waits_to_be_written_is_waited_for(tmp_path: Path) -> None:
    """An image whose sender has gone, and whose line waits for the disk, stays."""
    in_hand, path = InHand(), placed(tmp_path, JPEG, DAY)
    found = SeriesJournal(ProducerSettings(home=tmp_path), lambda _: False)
    cleaner, _ = cleaning(tmp_path, found, in_hand, days=0)
    accepting = asyncio.create_task(found.accept([arrival("ridge", path)]))
    await asyncio.wait({accepting}, timeout=0.05)  # in the queue; nobody writes yet
    looking = asyncio.create_task(cleaner.round())
    await asyncio.wait({looking}, timeout=0.3)
    assert not looking.done() and path.exists()
    writing = asyncio.create_task(found.run())
    await accepting
    await looking
    assert path.exists()
    writing.cancel()


def test_what_is_going_is_waited_for() -> None:
    """Whoever comes for an image in the moment that it goes looks for it when it is gone, and not before."""
    in_hand, order = InHand(), list[str]()
    going, held = threading.Event(), threading.Event()
    in_hand.begin()

    def come() -> None:
        going.wait(10)
        in_hand.hold("a")
        order.append("held")
        held.set()

    def unlink() -> None:
        going.set()
        in_hand.hold("b")  # another one is not waited for
        assert not held.wait(0.2)
        order.append("gone")

    thread = threading.Thread(target=come)
    thread.start()
    assert in_hand.remove("a", unlink) and held.wait(10)
    thread.join()
    assert order == ["gone", "held"]
    assert not in_hand.remove("a", unlink) and not in_hand.remove("b", unlink)
    in_hand.release("a")
    assert not in_hand.remove("a", unlink), "its line came after the manifests were read"
    in_hand.end()
    in_hand.begin()
    assert in_hand.remove("a", lambda: None) and not in_hand.remove("b", unlink)


def placed(home: Path, content: bytes, age: float) -> Path:
    """An uploaded image, written so many seconds ago."""
    name = hashlib.sha256(content).hexdigest()
    path = incoming_folder(home / "results") / name[:2] / f"{name}.jpeg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


def arrival(series: str, path: Path) -> Arrival:
    return Arrival(series, path.name, path.as_uri(), f"sha256:{path.stem}")


def cleaning(home: Path, found: SeriesJournal, in_hand: InHand, days: float | None = 30) -> tuple[Cleaner, JobTable]:
    """A cleaner over a home, and its table of jobs; Kafka is not asked."""
    table = JobTable(NOBODY)
    changes = ProducerSettings(home=home, upload_keep_days=days)
    return Cleaner(changes, found, in_hand, table), table


def known(home: Path, table: JobTable, cleaner: Cleaner, name: str, job: Job, files: list[Path]) -> None:
    """A job that is no live one any more, as its manifest and Kafka tell."""
    path = manifest_path(home / "results", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(messages.encode(ManifestLine(file="a.jpg", uri=file.as_uri())) + b"\n" for file in files))
    if job.kind == "forgotten":
        moment = time.time() - topics.JOBS.retention_ms / 1000 - DAY
        os.utime(path, (moment, moment))
    if job.kind in {"unknown", "forgotten"}:
        return
    table.specs[name] = job_spec(job=name)
    if job.kind != "bulk":
        state = JobState.CANCELLED if job.kind == "cancelled" else JobState.COMPLETED
        cleaner.ended.jobs[name] = ended(name, DAY if job.kind == "just ended" else 31 * DAY, state)


def ended(job: str, age: float, state: JobState = JobState.COMPLETED) -> JobStatus:
    """The last status of a job that ended so many seconds ago."""
    return JobStatus(job=job, state=state, total=1, counts=Counts(), updated=time.time() - age)
