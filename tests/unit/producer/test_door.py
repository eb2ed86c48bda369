"""The HTTP door: what it takes, what it refuses and in which words, and what it never does."""

import asyncio
import contextlib
import functools
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import aiohttp
import pytest
import uvloop

from producer.backlog import LiveBacklog
from producer.live import incoming
from producer.live.answers import Answers
from producer.live.api import Door
from producer.live.series_journal import SeriesJournal
from producer.live.service import check, listening, run
from tests import images
from tests.unit.core.test_keys import entry, written
from tests.unit.producer.test_series_journal import journals
from trapstream.core.errors import Fatal
from trapstream.core.keys import Keys
from trapstream.core.owner import owned
from trapstream.core.result_store import incoming_folder, live_folder, manifest_path, read_manifest
from trapstream.core.service import Health
from trapstream.core.settings import ProducerSettings

NOBODY = "127.0.0.1:1"
"""No Kafka is needed to take an image."""
PHOTO = images.jpeg(64, 48)


P = ParamSpec("P")


def as_served(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test on the loop that services run on: its transports are not asyncio's own."""

    @functools.wraps(test)
    def run(*given: P.args, **named: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*given, **named))

    return run


class Opened(NamedTuple):
    """A door that takes images."""

    port: int
    journal: SeriesJournal
    home: Path
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/images"

    async def post(self, query: str = "job=ridge", data: Any = PHOTO, **more: Any) -> tuple[int, dict[str, Any]]:
        """The status and the answer, which is always JSON."""
        async with self.session.post(f"{self.url}?{query}", data=data, **more) as answer:
            return answer.status, await answer.json()

    def lines(self) -> list[str]:
        """The names in all manifests."""
        paths = sorted((self.home / "results").glob("*.manifest.jsonl"))
        return [line.file for path in paths for line in read_manifest(path)]

    def kept(self) -> list[bytes]:
        """What lies in the incoming area."""
        return [path.read_bytes() for path in incoming_folder(self.home / "results").rglob("*") if path.is_file()]


@contextlib.asynccontextmanager
async def door(home: Path, keys: Path | None = None, opened: bool = True, **changes: Any) -> AsyncIterator[Opened]:
    settings = ProducerSettings(home=home, kafka=NOBODY, **changes)
    incoming.prepare(settings.results)
    health, taking = Health(), Door(settings, Keys(keys) if keys else None)
    async with (
        journals(home, **changes) as found,
        listening(settings, taking, health),
        aiohttp.ClientSession() as session,
    ):
        if opened:
            taking.open(found, Answers(NOBODY, found.find), LiveBacklog(NOBODY, found.unpublished))
        port = health.details["api"]
        assert isinstance(port, int)
        yield Opened(port, found, home, session)


def form(*parts: bytes, **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in fields.items():
        made.add_field(name, value)
    for number, part in enumerate(parts):
        made.add_field("image", part, filename=f"DCIM/IMG_{number}.JPG", content_type="image/jpeg")
    return made


@as_served
async def test_an_image_as_it_is(tmp_path: Path) -> None:
    """Answered with its id; its bytes lie under their digest, and the same bytes again get the same id."""
    async with door(tmp_path) as at:
        status, answer = await at.post("job=ridge&file=IMG_1.JPG&captured=2026-11-23T05:12:44&meta=note")
        [image] = answer["images"]
        assert status == 202 and (image["seq"], image["file"], image["repeated"]) == (0, "IMG_1.JPG", False)
        assert image["id"] == f"{image['job']}/0" and image["job"].startswith("ridge-")
        _, again = await at.post("job=ridge&file=other.jpg")
        assert again["images"] == [image | {"repeated": True}]
        assert at.kept() == [PHOTO]
        [line] = read_manifest(manifest_path(tmp_path / "results", image["job"]))
        digest = hashlib.sha256(PHOTO).hexdigest()
        assert line.uri.endswith(f"/{digest}.jpeg") and line.key == f"sha256:{digest}"
        assert (line.captured, line.meta) == ("2026:11:23 05:12:44", '{"meta":"note"}')


@as_served
async def test_several_in_a_form(tmp_path: Path) -> None:
    """Each has its place, in order; fields hold for all of them, and the camera is their folder."""
    async with door(tmp_path) as at:
        parts = [images.jpeg(64, 48, seed) for seed in range(3)]
        status, answer = await at.post("job=ridge", form(*parts, parts[0], camera="C7"))
        assert status == 202
        assert [(image["seq"], image["repeated"]) for image in answer["images"]] == [
            (0, False), (1, False), (2, False), (0, True),
        ]  # fmt: skip
        assert at.lines() == [f"C7/DCIM/IMG_{n}.JPG" for n in range(3)]
        status, answer = await at.post("camera=C8", PHOTO)
        assert status == 202 and answer["images"][0]["job"].startswith("C8-")


@as_served
async def test_the_content_tells_what_it_is(tmp_path: Path) -> None:
    """A declared type is not believed, in either direction."""
    async with door(tmp_path) as at:
        status, answer = await at.post(data=images.HTML, headers={"Content-Type": "image/jpeg"})
        assert status == 415 and "HTML" in answer["error"]
        assert (await at.post(headers={"Content-Type": "text/plain"}))[0] == 202
        assert (await at.post(data=form(images.TEXT)))[0] == 415
        assert at.kept() == [PHOTO]


REFUSED: list[tuple[str, Any, int, str]] = [
    ("", PHOTO, 400, "whose image"),
    ("job=../x", PHOTO, 400, "1 to 64 letters"),
    ("job=ridge&captured=yesterday", PHOTO, 400, "is written as"),
    ("job=ridge&meta=" + "x" * 5_000, PHOTO, 400, "meta has more"),
    ("job=ridge&wait=soon", PHOTO, 400, "wait is a number"),
    ("job=ridge&wait=1e9", PHOTO, 400, "wait is a number"),
    ("job=ridge&wait=nan", PHOTO, 400, "wait is a number"),
    ("job=ridge", b"", 400, "empty"),
    ("job=ridge", PHOTO + b"x" * 20_000, 413, "at most"),
    ("job=ridge", lambda: form(PHOTO, PHOTO + b"x" * 20_000), 413, "image 2 of the form"),
    ("job=ridge", lambda: form(PHOTO, b""), 400, "image 2 of the form"),
    ("job=ridge", lambda: form(*[PHOTO] * 4), 413, "3 images at most"),
    ("job=ridge", lambda: form(meta="alone"), 400, "has no image"),
    ("job=ridge", lambda: form(PHOTO, meta="x" * 20_000), 400, "too long"),
]


@pytest.mark.parametrize(("query", "data", "status", "text"), REFUSED, ids=[text for *_, text in REFUSED])
@as_served
async def test_what_is_refused_leaves_nothing(tmp_path: Path, query: str, data: Any, status: int, text: str) -> None:
    """One line says what is wrong; no image of the request is kept, and the next request is served."""
    async with door(tmp_path, upload_bytes=len(PHOTO) + 10_000, upload_images=3) as at:
        found, answer = await at.post(query, data if isinstance(data, bytes) else data())
        assert found == status and text in answer["error"]
        assert at.lines() == []
        assert (await at.post())[0] == 202


@as_served
async def test_other_requests(tmp_path: Path) -> None:
    """A wrong path or method, an encoded body, a form that is none: JSON and a status, never a traceback."""
    async with door(tmp_path) as at:
        async with at.session.get(at.url) as answer:
            assert answer.status == 405 and "error" in await answer.json()
        async with at.session.post(at.url.replace("images", "../../etc/passwd")) as answer:
            assert answer.status == 404 and "error" in await answer.json()
        assert (await at.post(headers={"Content-Encoding": "gzip"}))[0] == 415
        for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"):
            assert (await at.post(data=b"--y\r\n", headers={"Content-Type": kind}))[0] == 400
        nested = "--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na\r\n--y--\r\n--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await at.post(data=nested.encode(), headers=headers))[0] == 400
        assert at.lines() == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("several", [False, True])
@as_served
async def test_a_body_that_is_cut_off(tmp_path: Path, share: float, several: bool) -> None:
    """Nothing of it is accepted, and nothing of it stays on the disk."""
    body, kind = PHOTO, "image/jpeg"
    if several:
        parts = [b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n"] * 2
        body, kind = b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"
    async with door(tmp_path) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
        head = f"POST /v1/images?job=r HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: int(len(body) * share)])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await at.post())[0] == 202
        await asyncio.to_thread(_gone, incoming.spool_folder(tmp_path / "results"))
        assert len(at.lines()) == 1 and at.kept() == [PHOTO]
        del reader


def _gone(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while list(folder.iterdir()):
        assert time.monotonic() < deadline


@as_served
async def test_a_slow_client_is_ended(tmp_path: Path) -> None:
    """One byte at a time does not hold a place for long, neither in the body nor in the head."""
    async with door(tmp_path, upload_patience_seconds=0.5) as at:
        head = b"POST /v1/images?job=r HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
        for start, wanted in ((head, b" 408 "), (b"POST /v1", b"")):
            reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
            writer.write(start)
            began = time.monotonic()
            answer = asyncio.ensure_future(reader.read())
            while not answer.done():
                writer.write(b"x")
                await asyncio.wait({answer}, timeout=0.05)
            assert time.monotonic() < began + 5
            said = b"" if answer.exception() else answer.result()
            assert wanted in said
            writer.close()


@as_served
async def test_silent_connections_are_bounded(tmp_path: Path) -> None:
    """Of hundreds that send nothing only a few are held, each for a moment; afterwards uploads are taken."""
    async with door(tmp_path, upload_connections=20, upload_patience_seconds=1.0) as at:
        silent = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", at.port) for _ in range(300)))
        said = await asyncio.gather(*(_all(reader) for reader, _ in silent))
        assert sum(b" 503 " in text and b"Retry-After" in text for text in said) == 280
        assert sum(text == b"" for text in said) == 20
        for _, writer in silent:
            writer.close()
        assert (await at.post())[0] == 202


async def _all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


@as_served
async def test_keys(tmp_path: Path) -> None:
    """Without one, with a wrong one and with a revoked one the answer is the same; a good one has its quota."""
    path = written(tmp_path / "keys", entry("a", "good", per_minute=2), entry("b", "old", revoked=True))
    async with door(tmp_path / "home", keys=path) as at:
        wrong: list[dict[str, str]] = [{}, *({"Authorization": f"Bearer {key}"} for key in ("wrong", "old", ""))]
        refused = [await at.post(headers=headers) for headers in wrong]
        assert [status for status, _ in refused] == [401] * 4 and len({answer["error"] for _, answer in refused}) == 1
        mine = {"Authorization": "Bearer good"}
        assert [(await at.post(headers=mine))[0] for _ in range(2)] == [202, 202]
        async with at.session.post(f"{at.url}?job=a", data=PHOTO, headers=mine) as answer:
            assert answer.status == 429 and 1 <= int(answer.headers["Retry-After"]) <= 60
        path.write_text("no keys")
        status, answered = await at.post(headers=mine)
        assert status == 503 and str(tmp_path) not in json.dumps(answered)


@as_served
async def test_without_keys_only_programs_of_this_machine(tmp_path: Path) -> None:
    """A web page in a browser, or a name that leads here, is refused."""
    async with door(tmp_path) as at:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            assert (await at.post(headers=headers))[0] == 403
        assert (await at.post(headers={"Host": f"localhost:{at.port}"}))[0] == 202


@as_served
async def test_a_deep_backlog_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes is told when to come again; nothing is kept."""
    async with door(tmp_path, upload_backlog=2) as at:
        for seed in range(2):
            assert (await at.post(data=images.jpeg(64, 48, seed)))[0] == 202
        async with at.session.post(f"{at.url}?job=ridge", data=PHOTO) as answer:
            assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
        assert len(at.lines()) == 2
    monkeypatch.setattr(incoming, "SPARE", 1 << 60)
    async with door(tmp_path / "full") as at:
        status, said = await at.post()
        assert status == 507 and "full" in said["error"] and at.kept() == []


@as_served
async def test_a_producer_that_stands_by(tmp_path: Path) -> None:
    """It says so, and when to come again."""
    async with door(tmp_path, opened=False) as at:
        status, answer = await at.post()
        assert status == 503 and "another producer" in answer["error"]


@as_served
async def test_a_producer_that_stands_by_stops_at_once(tmp_path: Path) -> None:
    """While another one owns the uploads, and with Kafka away: nothing was taken, so nothing is waited for."""
    settings, stop, health = ProducerSettings(home=tmp_path, kafka=NOBODY), asyncio.Event(), Health()
    async with owned(live_folder(settings.results), "test does this"):
        running = asyncio.create_task(run(settings, stop, health))
        await asyncio.wait({running}, timeout=0.2)
        assert not running.done() and "api" in health.details
        stop.set()
        await asyncio.wait_for(running, 10)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("api_host", "0.0.0.0", "without API keys"),
        ("live_zone", "Mars/Olympus", "no time zone"),
        ("live_zone", "../../etc/passwd", "no time zone"),
        ("bucket_series", {"cams": "a/b"}, "cams: a job or camera"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, setting: str, value: Any, text: str) -> None:
    """The producer does not start, and one line says what to do: nobody opens a door by mistake."""
    with pytest.raises(Fatal, match=text):
        check(ProducerSettings(home=tmp_path, **{setting: value}))


@as_served
async def test_nobody_answers_in_time(tmp_path: Path) -> None:
    """The image is accepted; its detections are not there yet."""
    async with door(tmp_path) as at:
        status, answer = await at.post("job=ridge&wait=0.2")
        assert status == 202 and "result" not in answer["images"][0]


@as_served
async def test_who_asks_for_events_is_sent_to_the_notifier(tmp_path: Path) -> None:
    """With all that was asked; where no notifier is named, one line says so."""
    path = "/v1/jobs/ridge-2026-11-23/events?category=animal&from=now"
    async with door(tmp_path, events_url="http://127.0.0.1:7/") as at:
        async with at.session.get(f"http://127.0.0.1:{at.port}{path}", allow_redirects=False) as answer:
            assert answer.status == 307 and answer.headers["Location"] == f"http://127.0.0.1:7{path}"
        assert (await at.post("job=ridge&webhook=ftp://x"))[0] == 400
        assert (await at.post("job=ridge&webhook_filter=camera%3DC7"))[0] == 400
        assert (await at.post("job=ridge&webhook=http://x&webhook_filter=a%3Db"))[0] == 400
        assert (await at.post("job=ridge&webhook=http://x&webhook_filter=camera%3DC7"))[0] == 202
    async with door(tmp_path) as at, at.session.get(f"http://127.0.0.1:{at.port}{path}") as answer:
        assert answer.status == 404 and "notifier" in (await answer.json())["error"]
