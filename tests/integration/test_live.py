"""Live images end to end: uploads, a bucket's events, a watched folder, and a producer that dies at each step."""

import asyncio
import contextlib
import hashlib
import http.server
import io
import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.tools import chaos_model
from bench.tools.arrivals import image
from tests import images
from tests.integration.producer.helpers import clean_lanes
from tests.integration.service import Service
from tests.integration.whole import Whole, whole
from tests.megadetector_rules import check_data
from tests.stacks import RunningStack
from tests.unit.images.test_shot import photograph
from tests.unit.producer.test_bucket_events import minio
from tests.waiting import eventually, wait_for
from trapstream.core import faults, kafka, letters, result_store, status
from trapstream.core.messages import JobSpec, JobState, StageTimes
from trapstream.jobs.watch import Watched, watch
from trapstream.local import ports
from trapstream.results.partial import partial

EVENTS = "bucket-events"
POINTS = [point for point in faults.POINTS if point.startswith(("arrive.", "carry."))]


class _Bucket(http.server.BaseHTTPRequestHandler):
    """What S3's clients ask for: GET /bucket/key."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        data = self.objects.get(self.path)
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 05:12:44 GMT")
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Live:
    """The services, and where they take images."""

    def __init__(self, works: Whole, api: str) -> None:
        self.works, self.api, self.servers = works, api, works.stack.kafka

    @property
    def producer(self) -> Service:
        return self.works.running["producer-0"]

    async def send(
        self, session: aiohttp.ClientSession, series: str, number: int, query: str = "", data: bytes | None = None
    ) -> dict[str, Any]:
        """Uploads an image, again and again until it is answered with 2xx; its place."""

        async def attempt() -> dict[str, Any] | None:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                url = f"{self.api}/v1/images?job={series}&file={number}.jpg{query}"
                async with session.post(url, data=data or image(number)) as answer:
                    if answer.status in (200, 202):
                        [place] = (await answer.json())["images"]
                        return dict(place)
            return None

        return await eventually(f"a 2xx for {number}", attempt)

    async def specs(self, series: str) -> list[JobSpec]:
        """The jobs of a series."""
        return [spec for spec in (await status.read_specs(self.servers)).values() if spec.series == series]

    async def partial(self, series: str, images: int) -> dict[str, dict[str, Any]]:
        """The entries by name that partial results of the open jobs have, once there are so many."""

        async def look() -> list[dict[str, Any]] | None:
            found = []
            for spec in await self.specs(series):
                assert spec.total is None
                out = io.BytesIO()
                await partial(self.servers, spec, out)
                found += msgspec.json.decode(out.getvalue())["images"]
            return found if len(found) >= images else None

        entries = await eventually(f"{images} results of {series}", look)
        assert len(entries) == images
        return {entry["file"]: entry for entry in entries}

    async def files(self, series: str, jobs: set[str]) -> list[tuple[JobSpec, list[dict[str, Any]]]]:
        """The jobs of a series with the entries of their files, once these and all others are complete."""
        results = self.works.home / "results"

        async def look() -> list[JobSpec] | None:
            # In this order: who has ended was sealed before, and a spec from before the seal has no total.
            states = await status.read_all(self.servers)
            specs = await self.specs(series)
            complete = {job for job, told in states.items() if told.state is JobState.COMPLETED}
            return specs if jobs <= {spec.job for spec in specs} <= complete else None

        specs = await eventually(f"the files of {series}", look, 90)
        return [
            (spec, msgspec.json.decode(result_store.result_path(results, spec.job).read_bytes())["images"])
            for spec in specs
        ]


@pytest.fixture(scope="module")
def live(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = ports.choose(["api"], {})["api"]
    settings = {
        "TRAPSTREAM_API_PORT": str(port),
        "TRAPSTREAM_BUNDLE": str(folder / "bundle"),
        "TRAPSTREAM_LIVE_MODEL": chaos_model.NAME,
        "TRAPSTREAM_BUCKET_TOPIC": EVENTS,
        "TRAPSTREAM_BUCKET_SERIES": '{"cams/": "bucket"}',
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_REGION": "us-east-1",
    }
    asyncio.run(_make_topic(stack.kafka))
    try:
        with whole(stack, folder, 1, settings) as works:
            wait_for("the door", lambda: _listens(port))
            yield Live(works, f"http://127.0.0.1:{port}")
    finally:
        server.shutdown()
        asyncio.run(_clean(stack.kafka))


async def _clean(servers: str) -> None:
    async with clean_lanes(servers):
        pass


async def _make_topic(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(EVENTS, 2, 1)])
    await admin.close()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def test_an_upload_is_answered_with_its_detections(live: Live) -> None:
    """With `wait` the entry comes back; the same bytes again are answered from the first, also after a restart."""
    async with aiohttp.ClientSession() as session:
        query = "&camera=C7&captured=2026-11-23T05:12:44"
        first = await live.send(session, "waited", 1, f"&wait=30&times=1{query}")
        spent = first.pop("ms")
        assert set(spent) == set(StageTimes.__struct_fields__) and min(spent.values()) > 0
        assert first["result"]["file"] == "C7/1.jpg" and len(first["result"]["detections"]) == 1
        assert first["result"]["datetime"] == "2026:11:23 05:12:44"
        assert json.loads(first["result"]["meta"]) == {"camera": "C7"}
        live.producer.kill()
        live.producer.start()
        again = await live.send(session, "waited", 1, "&wait=30")
        assert again == first | {"repeated": True}
    assert await live.partial("waited", 1) == {"C7/1.jpg": first["result"]}


async def test_what_the_camera_wrote_is_in_the_entry(live: Live) -> None:
    """Its capture time goes before the sender's, its serial number joins the sender's facts; the format is kept."""
    data = photograph(taken="2026:11:22 23:59:01", serial="HC600 77")
    query = "&wait=30&camera=C7&meta=battery+80&captured=2020-01-01T00:00:00"
    async with aiohttp.ClientSession() as session:
        place = await live.send(session, "exif", 1, query, data)
        await live.send(session, "exif", 2, "&wait=30")
    entry = place["result"]
    assert entry["datetime"] == "2026:11:22 23:59:01"
    assert json.loads(entry["meta"]) == {"camera": "C7", "meta": "battery 80", "serial": "HC600 77"}
    [spec] = await live.specs("exif")
    out = io.BytesIO()
    await partial(live.servers, spec, out)
    found = msgspec.json.decode(out.getvalue())
    assert check_data(found) == []
    assert [image.get("datetime", "no key") for image in found["images"]] == [entry["datetime"], None]


async def test_bad_images_cost_their_own_entry(live: Live) -> None:
    """Of one form the good ones are answered, each bad one fails with its reason, and none is left out."""
    kinds = {
        "good": images.jpeg(64, 48), "cut": images.truncated(images.jpeg(64, 48)), "bomb": images.bomb(),
        "length": images.damaged_length(), "exif": images.damaged_exif(), "cmyk": images.cmyk(64, 48),
        "grey": images.grey16(64, 48), "gif": images.palette("GIF"), "head": images.jpeg(64, 48)[:20],
    }  # fmt: skip
    form = aiohttp.FormData()
    for name, data in kinds.items():
        form.add_field("image", data, filename=f"{name}.jpg")
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{live.api}/v1/images?job=kinds&wait=50", data=form) as answer,
    ):
        assert answer.status == 200
        found = {place["file"]: place["result"] for place in (await answer.json())["images"]}
    failed = {name for name, entry in found.items() if entry["detections"] is None}
    assert failed == {"bomb.jpg", "head.jpg"}
    assert "too many pixels" in found["bomb.jpg"]["failure"]
    assert await live.partial("kinds", len(kinds)) == found


async def test_a_buckets_events(live: Live) -> None:
    """A new object is answered; one that is gone fails by name; what is no notification is parked; the rest passes."""
    _Bucket.objects["/cams/night%201/a.jpg"] = image(7)
    values = [minio("night+1%2Fa.jpg"), minio("night+1%2Fa.jpg"), minio("gone.jpg"), b"no JSON"]
    values += [minio("night+1%2Fa.jpg", "s3:ObjectRemoved:Delete"), minio("a.jpg", bucket="other"), minio("a.txt")]
    producer = await kafka.start_producer(live.servers)
    for value in values:
        await producer.send_and_wait(EVENTS, value, partition=0)
    await producer.stop()

    async def parked() -> bool:
        return any([letter.topic == EVENTS async for letter in letters.read(live.servers)])

    await eventually("the dead letter", parked)
    entries = await live.partial("bucket", 2)
    assert entries["night 1/a.jpg"]["width"] == 64 and "not found" in entries["gone.jpg"]["failure"]


async def test_a_watched_folder(live: Live, tmp_path: Path) -> None:
    """What is there, what is renamed into it, and what is in it after it was gone: each once, and no half of a file."""
    folder = tmp_path / "ftp"
    (folder / "C7").mkdir(parents=True)
    (folder / "C7" / "1.jpg").write_bytes(image(1))
    watched = Watched(
        folder=folder, series="folder", api=live.api, key=None, memory=tmp_path / "memory", settle_seconds=0.3
    )
    said: list[str] = []
    stop = asyncio.Event()
    watching = asyncio.create_task(watch(watched, stop, said.append))

    async def sent(count: int) -> None:
        async def look() -> bool:
            return watched.memory.exists() and watched.memory.read_bytes().count(b"\n") >= count

        await eventually(f"{count} files", look)

    await sent(1)
    (folder / ".pureftpd-upload.1").write_bytes(image(2))
    (folder / "3.jpg.part").write_bytes(image(3))
    growing = (folder / "4.jpg").open("wb", buffering=0)
    growing.write(image(4)[:200])
    (folder / ".pureftpd-upload.1").rename(folder / "2.jpg")
    await sent(2)  # what is still growing has been passed over by now
    growing.write(image(4)[200:])
    growing.close()
    await sent(3)
    folder.rename(tmp_path / "away")

    async def waits() -> bool:
        return any("waiting for it" in line for line in said)

    await eventually("a word on the folder", waits)
    (tmp_path / "away" / "5.jpg").write_bytes(image(5))
    (tmp_path / "away").rename(folder)
    await sent(4)
    stop.set()
    await asyncio.wait_for(watching, 30)
    entries = await live.partial("folder", 4)
    assert sorted(entries) == ["2.jpg", "4.jpg", "5.jpg", "C7/1.jpg"]
    assert all("failure" not in entry for entry in entries.values())


async def test_images_of_jobs_that_have_ended_are_removed(live: Live) -> None:
    """As their setting says, also after a death between two of them; what an open job refers to stays."""
    results = live.works.home / "results"

    def there(number: int) -> bool:
        name = hashlib.sha256(image(number)).hexdigest()
        return (result_store.incoming_folder(results) / name[:2] / f"{name}.jpeg").exists()

    async with aiohttp.ClientSession() as session:
        job = (await live.send(session, "removed", 900))["job"]
        for number in range(901, 906):
            await live.send(session, "removed", number)
        live.works.start("producer", settings={"TRAPSTREAM_LIVE_PERIOD_SECONDS": "1"})  # its period is over
        await live.files("removed", {job})

        async def forgotten() -> bool:
            return not (result_store.live_folder(results) / f"{job}.json").exists()

        await eventually("the end of its answers to images that come again", forgotten)
        live.works.start("producer")
        kept = [await live.send(session, "kept", number) for number in (900, 906)]
        assert not kept[0]["repeated"] and all(there(number) for number in range(900, 907))
        cleaning = {"TRAPSTREAM_UPLOAD_KEEP_DAYS": "0", faults.VARIABLE: "clean.1:2"}
        live.works.start("producer", settings=cleaning)
        assert await asyncio.to_thread(live.producer.wait) == -signal.SIGKILL
        assert sum(there(number) for number in range(901, 906)) >= 3
        live.producer.start()

        async def gone() -> bool:
            return not any(there(number) for number in range(901, 906))

        await eventually("the rest", gone)
        again = await live.send(session, "kept", 901, "&wait=30")
    assert there(900) and there(906) and again["result"]["width"] == 64
    live.works.start("producer")


@pytest.mark.timeout(120)
async def test_a_producer_that_dies_at_each_step_loses_nothing(live: Live) -> None:
    """It is started again after each death; each image is sent until its 2xx, and is in one file once."""
    small = {"TRAPSTREAM_LIVE_MOST_IMAGES": "6"}  # a job is sealed when it is full
    live.works.start("producer", settings=small | {faults.VARIABLE: ",".join(f"{point}:2" for point in POINTS)})
    places: dict[int, dict[str, Any]] = {}

    def left() -> list[str]:
        return [point for point in POINTS if not faults.marker(live.works.home, point).exists()]

    async def dead() -> bool:
        return not live.producer.runs

    async def keep() -> None:
        while True:
            await eventually("a death", dead, 300, pause=0.02)
            live.producer.start()

    async with aiohttp.ClientSession() as session:
        keeping = asyncio.create_task(keep())
        number = 0
        while left():
            # By twos: while one is sent again the other must not fill two jobs, since the first is not known then.
            pair = number, number + 1
            answers = await asyncio.gather(*(live.send(session, "deaths", each) for each in pair))
            places.update(zip(pair, answers, strict=True))
            number += 2
        keeping.cancel()
        await asyncio.wait({keeping})
        live.works.start("producer", settings={"TRAPSTREAM_LIVE_PERIOD_SECONDS": "1"})  # every job's period is over
        # One more, since the last job may have been full: else this producer could be stopped before it is up.
        places[number] = await live.send(session, "deaths", number)
    jobs = {place["job"] for place in places.values()}
    found = await live.files("deaths", jobs)
    assert [spec for spec, entries in found if not spec.total == len(entries) > 0] == []
    counted = Counter(entry["file"] for _, entries in found for entry in entries)
    assert counted == {f"{number}.jpg": 1 for number in places}
    assert jobs == {spec.job for spec, _ in found}
    assert live.producer.stop() == 0
    live.works.start("producer")
