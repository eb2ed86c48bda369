"""Fetching, against real files and a real web server on this machine."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer import http_fetch
from consumer.away import Transient
from consumer.fetch import Fetcher
from consumer.file_fetch import read_files
from trapstream.core import outgoing
from trapstream.core.errors import Permanent, Reason
from trapstream.core.settings import ConsumerSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def settings(home: Path, **values: Any) -> ConsumerSettings:
    quick = {"home": home, "roots": [home], "max_bytes": 1000, "fetch_seconds": 30.0, "allow_private_networks": True}
    return ConsumerSettings(**{**quick, **values})


async def fetched(home: Path, uri: str, **values: Any) -> bytes:
    async with Fetcher(settings(home, **values)) as fetcher:
        return await fetcher.fetch(uri)


async def failed(home: Path, uri: str, **values: Any) -> tuple[Reason, str]:
    with pytest.raises(Permanent) as caught:
        await fetched(home, uri, **values)
    return caught.value.reason, caught.value.detail


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[TestServer]:
    """A web server that answers everything with `handler`."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(application, host="127.0.0.1")
    async with server:
        yield server


def url(server: TestServer, path: str = "a.jpg") -> str:
    return f"http://127.0.0.1:{server.port}/{path}"


def file_uri(path: Path) -> str:
    return "file://" + quote(os.fsencode(path))


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"a.jpg", b"a b%20#?.jpg", "é.jpg".encode(), b"\xff\xfe.jpg"])
async def test_file(tmp_path: Path, name: bytes) -> None:
    """A file is read whatever its name's bytes are."""
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"pixels")
    assert await fetched(tmp_path, file_uri(path)) == b"pixels"


async def test_file_failures(tmp_path: Path) -> None:
    """What is no readable file below a root fails with its own reason; none is waited for."""
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * 1001)
    (tmp_path / "full").write_bytes(b"x" * 1000)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        for name, reason in {
            "empty": Reason.EMPTY_FILE,
            "large": Reason.TOO_LARGE,
            "folder": Reason.NOT_A_FILE,
            "pipe": Reason.NOT_A_FILE,
            "socket": Reason.NOT_A_FILE,
            "loop": Reason.NOT_FOUND,
            "dangling": Reason.NOT_FOUND,
            "missing": Reason.NOT_FOUND,
            "full/inside": Reason.NOT_FOUND,
            "x" * 300: Reason.NOT_FOUND,
        }.items():
            found, _ = await failed(tmp_path, file_uri(tmp_path / name))
            assert found is reason, name
            everywhere, _ = await failed(tmp_path, file_uri(tmp_path / name), roots=[Path("/")])
            assert everywhere is reason, name
    assert len(await fetched(tmp_path, file_uri(tmp_path / "full"))) == 1000
    assert await failed(tmp_path, "file:///dev/zero", roots=[Path("/")]) == (Reason.NOT_A_FILE, "a device")


async def test_files_read_together_end_as_each_by_itself(tmp_path: Path) -> None:
    """Bytes or failure of a file do not depend on those beside it; what took too long for one thread is left."""
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "large.jpg").write_bytes(bytes(1001))
    (tmp_path / "empty.jpg").touch()
    uris = [file_uri(tmp_path / name) for name in ("a.jpg", "gone.jpg", "large.jpg", "empty.jpg", "a.jpg")]
    uris += ["file:///etc/hostname", file_uri(tmp_path)]
    async with Fetcher(settings(tmp_path)) as fetcher:
        together = await fetcher.fetch_files(uris)
        assert len(together) == len(uris)
        assert together[0] == b"a"
        for uri, found in zip(uris, together, strict=True):
            if isinstance(found, Permanent):
                with pytest.raises(Permanent) as caught:
                    await fetcher.fetch(uri)
                assert (caught.value.reason, caught.value.detail) == (found.reason, found.detail)
            elif found is not None:
                assert found == await fetcher.fetch(uri)
        read: list[bytes | Permanent | None] = []
        read_files(uris, [os.fsencode(tmp_path)], 1000, 0.0, read)
        assert read == [b"a"]


async def test_no_permission(tmp_path: Path) -> None:
    """A file that may not be read says so."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0)
    with _nobody():
        assert (await failed(tmp_path, file_uri(secret)))[0] is Reason.NO_PERMISSION


@contextmanager
def _nobody() -> Iterator[None]:
    """Root may read everything, so root is somebody else meanwhile."""
    me = os.geteuid()
    os.seteuid(65_534 if me == 0 else me)
    try:
        yield
    finally:
        os.seteuid(me)


async def test_files_stay_below_the_roots(tmp_path: Path) -> None:
    """Neither .. nor a symbolic link leaves the roots, and what lies outside cannot even be probed."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"x")
    (inside / "a.jpg").write_bytes(b"y")
    (inside / "link").symlink_to(outside / "a.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "good").symlink_to(inside / "a.jpg")
    (outside / "back").symlink_to(inside)
    for name in ("link", "folder/a.jpg", "../out/a.jpg", "../out/none", "folder/none"):
        assert (await failed(tmp_path, file_uri(inside / name), roots=[inside]))[0] is Reason.FORBIDDEN, name
    assert await fetched(tmp_path, file_uri(inside / "good"), roots=[inside]) == b"y"
    assert await fetched(tmp_path, file_uri(inside / "a.jpg"), roots=[outside / "back"]) == b"y"


@pytest.mark.parametrize(
    "uri", ["ftp://example.org/a.jpg", "/data/a.jpg", "a.jpg", "", "file://host/a", "http://", "s3://b"]
)
async def test_unsupported(tmp_path: Path, uri: str) -> None:
    """An address that cannot be understood fails as such."""
    assert (await failed(tmp_path, uri))[0] is Reason.UNSUPPORTED_URI


# --- the web -------------------------------------------------------------------------------------------------------


async def test_web(tmp_path: Path) -> None:
    """A page's bytes come back, its query and its escapes untouched, to the byte."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response(body=b"pixels")

    async with serving(handler) as server:
        assert await fetched(tmp_path, url(server, "a%2Fb%20c.jpg?sig=A%2BB%3D&x=1")) == b"pixels"
        assert await fetched(tmp_path, url(server, "a b.jpg")) == b"pixels"
    assert seen == ["/a%2Fb%20c.jpg?sig=A%2BB%3D&x=1", "/a%20b.jpg"]


@pytest.mark.parametrize(
    ("status", "reason", "calls"),
    [
        (404, Reason.NOT_FOUND, 1),
        (410, Reason.NOT_FOUND, 1),
        (401, Reason.NO_PERMISSION, 1),
        (403, Reason.NO_PERMISSION, 1),
        (400, Reason.HTTP_STATUS, 1),
        (418, Reason.HTTP_STATUS, 1),
        (304, Reason.HTTP_STATUS, 1),
        (429, Reason.HTTP_STATUS, 2),
        (500, Reason.HTTP_STATUS, 2),
        (503, Reason.HTTP_STATUS, 2),
    ],
)
async def test_statuses(tmp_path: Path, status: int, reason: Reason, calls: int) -> None:
    """Each status has its reason; only what may go away is asked again."""
    count = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=status)

    async with serving(handler) as server:
        assert await failed(tmp_path, url(server), fetch_attempts=2) == (reason, f"HTTP {status}")
    assert count == calls


async def test_a_server_that_recovers(tmp_path: Path) -> None:
    """Two errors and then the image: the image."""
    count = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=503) if count < 3 else web.Response(body=b"pixels")

    async with serving(handler) as server:
        assert await fetched(tmp_path, url(server), fetch_attempts=3) == b"pixels"


async def test_sizes(tmp_path: Path) -> None:
    """Exactly the limit passes; one more fails, announced or endless; nothing at all is an empty file."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path != "/endless":
            return web.Response(body=b"x" * int(request.path[1:]))
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 300)

    async with serving(handler) as server:
        assert len(await fetched(tmp_path, url(server, "1000"))) == 1000
        limit = (Reason.TOO_LARGE, "the limit is 1000 bytes")
        assert await failed(tmp_path, url(server, "1001")) == limit
        assert await failed(tmp_path, url(server, "endless")) == limit
        assert await failed(tmp_path, url(server, "0")) == (Reason.EMPTY_FILE, "")


async def test_whose_fault_it_is(tmp_path: Path) -> None:
    """A server that answers nothing may be at fault itself; one that answers for another image meanwhile is not, and
    the image is."""
    answered = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/good":
            return web.Response(body=b"pixels")
        if request.path == "/late":
            await answered.wait()
        return web.Response(status=503)

    async with serving(handler) as server, Fetcher(settings(tmp_path, fetch_attempts=1)) as fetcher:
        with pytest.raises(Transient) as caught:
            await fetcher.fetch(url(server, "bad"))
        assert str(caught.value.final()) == str(caught.value)
        late = asyncio.create_task(fetcher.fetch(url(server, "late")))
        await asyncio.sleep(0)
        assert await fetcher.fetch(url(server, "good")) == b"pixels"
        answered.set()
        with pytest.raises(Permanent) as caught_late:
            await late
        assert type(caught_late.value) is Permanent
        assert str(caught_late.value) == str(caught.value)


async def test_time_limit(tmp_path: Path) -> None:
    """A server that hangs, before or inside its answer, costs its attempts and no more."""
    over, asked = asyncio.Event(), Counter[str]()

    async def handler(request: web.Request) -> web.StreamResponse:
        asked[request.path] += 1
        response = web.StreamResponse()
        if request.path == "/inside":
            await response.prepare(request)
            await response.write(b"x")
        await over.wait()
        return response

    async with serving(handler) as server:
        for name in ("before", "inside"):
            found = await failed(tmp_path, url(server, name), fetch_seconds=0.5, fetch_attempts=2)
            assert found == (Reason.TIMED_OUT, "0.5 s")
        assert max(asked.values()) <= 2
        over.set()


async def test_broken_connections(tmp_path: Path) -> None:
    """Nobody listening, a cut answer and an unknown name are servers that cannot be reached."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "500"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(handler) as server:
        assert (await failed(tmp_path, url(server), fetch_attempts=1))[0] is Reason.UNREACHABLE
        port = server.port
    text = f"127.0.0.1:{port}: connection refused"
    assert await failed(tmp_path, f"http://127.0.0.1:{port}/a", fetch_attempts=1) == (Reason.UNREACHABLE, text)
    assert (await failed(tmp_path, "http://nowhere.invalid/a", fetch_attempts=1))[0] is Reason.UNREACHABLE


async def test_redirects(tmp_path: Path) -> None:
    """Five redirects are followed, six are not, and none leads out of the web."""

    async def handler(request: web.Request) -> web.Response:
        left = request.path.strip("/")
        if left == "0":
            return web.Response(body=b"pixels")
        elsewhere = {"file": "file:///etc/passwd", "bad": "http://[", "s3": "s3://bucket/key"}
        return web.Response(status=302, headers={"Location": elsewhere.get(left) or f"/{int(left) - 1}?t=secret"})

    async with serving(handler) as server:
        assert await fetched(tmp_path, url(server, "5")) == b"pixels"
        assert await failed(tmp_path, url(server, "6")) == (Reason.HTTP_STATUS, "more than 5 redirects")
        for name in ("file", "s3", "bad"):
            assert (await failed(tmp_path, url(server, name)))[0] is Reason.UNSUPPORTED_URI


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_private_networks_are_refused(tmp_path: Path, host: str) -> None:
    """No spelling of this machine's address is reached unless private networks are allowed."""
    calls = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(body=b"pixels")

    async with serving(handler) as server:
        place = f"{host}:{server.port}"
        reason, detail = await failed(tmp_path, f"http://{place}/a", allow_private_networks=False, fetch_attempts=1)
    assert reason in {Reason.FORBIDDEN, Reason.UNSUPPORTED_URI, Reason.UNREACHABLE}
    if host in {"127.0.0.1", "localhost"}:
        assert (reason, detail) == (Reason.FORBIDDEN, f"{place} is not in the public internet")
    assert calls == 0


async def test_a_redirect_to_a_private_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second hop is checked as the first is: a public server cannot send us home."""
    public = {"first": True}

    def first_is_public(address: str) -> bool:
        return public.pop("first", False)

    monkeypatch.setattr(outgoing, "is_public", first_is_public)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"http://localhost:{request.url.port}/secret"})

    async with serving(handler) as server:
        assert (await failed(tmp_path, url(server), allow_private_networks=False))[0] is Reason.FORBIDDEN


async def test_no_secret_in_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Passwords and signatures are in no failure's text and in no log line."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path[1:]))

    async with serving(handler) as server:
        for status in (403, 404, 500):
            uri = f"http://me:hush@127.0.0.1:{server.port}/{status}?sig=hush"
            assert "hush" not in str(await failed(tmp_path, uri, fetch_attempts=2))
        gone = server.port
    uri = f"http://me:hush@127.0.0.1:{gone}/a?sig=hush"
    assert "hush" not in str(await failed(tmp_path, uri, fetch_attempts=2))
    captured = capsys.readouterr()
    assert "hush" not in captured.out + captured.err


async def test_the_unexpected_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a library raises becomes the image's failure, and its text, which may hold secrets, is not shown."""

    async def surprise(*_: object) -> bytes:
        raise ZeroDivisionError("hush")

    monkeypatch.setattr(http_fetch.HttpFetcher, "fetch", surprise)
    assert await failed(tmp_path, "http://127.0.0.1/a?sig=hush") == (Reason.UNREACHABLE, "ZeroDivisionError")
    captured = capsys.readouterr()
    assert "hush" not in captured.out + captured.err


# --- objects -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Callable[[TestServer], None]:
    def use(server: TestServer) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        monkeypatch.setenv("AWS_REGION", "us-east-1")

    return use


async def test_objects(tmp_path: Path, bucket: Callable[[TestServer], None]) -> None:
    """A key is decoded once and asked for exactly, or not at all; failures have a web address's reasons, attempts."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        name = request.path.rpartition("/")[2]
        if name.isdigit():
            return web.Response(status=int(name))
        body = b"x" * (1001 if name == "large" else 0 if name == "empty" else 6)
        return web.Response(body=body, headers={"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "ETag": '"1"'})

    async with serving(handler) as server:
        bucket(server)
        async with Fetcher(settings(tmp_path, fetch_attempts=2)) as fetcher:
            assert await fetcher.fetch("s3://pictures/night%201/a%2520b.jpg") == b"x" * 6
            assert seen == ["/pictures/night%201/a%2520b.jpg"]
            for name, reason, calls in (
                ("404", Reason.NOT_FOUND, 1),
                ("403", Reason.NO_PERMISSION, 1),
                ("401", Reason.NO_PERMISSION, 1),
                ("400", Reason.HTTP_STATUS, 1),
                ("500", Reason.HTTP_STATUS, 2),
                ("large", Reason.TOO_LARGE, 1),
                ("empty", Reason.EMPTY_FILE, 1),
            ):
                seen.clear()
                with pytest.raises(Permanent) as caught:
                    await fetcher.fetch(f"s3://pictures/{name}")
                assert (caught.value.reason, len(seen)) == (reason, calls), name
            for key in (
                "/a",
                "a//b",
                "//a",
                "a/",
                "a%2F",
                "%2Fa",
                "a%2F%2Fb",
                "a/../../b",
                "./a",
                "a%0Ab",
                "a%7Fb",
                "%FF",
            ):
                seen.clear()
                with pytest.raises(Permanent) as caught:
                    await fetcher.fetch(f"s3://pictures/{key}")
                assert (caught.value.reason, seen) == (Reason.UNSUPPORTED_URI, []), key
            for key in ("a~b", "a%5Cb", "a%3Fb%23", "%20a", "a.", "...", "%C2%80", "a*%7C%5B%5E", "C:/a"):
                seen.clear()
                await fetcher.fetch(f"s3://pictures/{key}")
                assert [unquote(path) for path in seen] == [f"/pictures/{unquote(key)}"]
            for bucket_name in ("a%2Fb", "me@pictures", "pictures%23", "pictures:80"):
                with pytest.raises(Permanent) as caught:
                    await fetcher.fetch(f"s3://{bucket_name}/a")
                assert caught.value.reason is Reason.UNSUPPORTED_URI
    async with Fetcher(settings(tmp_path, fetch_attempts=1)) as fetcher:
        with pytest.raises(Permanent) as caught:
            await fetcher.fetch("s3://pictures/a")
        assert caught.value.reason is Reason.UNREACHABLE
        assert "hush" not in str(caught.value)


async def test_a_panic_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panic of the Rust client, which Python does not count among its exceptions, costs one image."""

    class PanicException(BaseException):
        """Named as the real one, which cannot be imported."""

    async def panic(*_: object) -> None:
        raise PanicException("hush")

    monkeypatch.setattr("obstore.get_async", panic)
    assert await failed(tmp_path, "s3://pictures/a") == (Reason.UNREACHABLE, "the object store's client failed")


async def test_many_at_once(tmp_path: Path) -> None:
    """A hundred fetches at once are a hundred answers."""
    for number in range(100):
        (tmp_path / str(number)).write_bytes(str(number).encode())
    async with Fetcher(settings(tmp_path)) as fetcher:
        found = await asyncio.gather(*(fetcher.fetch(file_uri(tmp_path / str(number))) for number in range(100)))
    assert found == [str(number).encode() for number in range(100)]
