"""A watched folder against a producer that writes down what it gets."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.jobs.test_ends import FILES
from tests.waiting import eventually
from trapstream.jobs.watch import Watched, watch


async def _watched(tmp_path: Path, work: Callable[[Path, list[tuple[str, bytes]], list[str]], object]) -> None:
    folder, stop = tmp_path / "in", asyncio.Event()
    folder.mkdir()
    got: list[tuple[str, bytes]] = []
    said: list[str] = []

    async def take(request: web.Request) -> web.Response:
        got.append((request.query["file"], await request.read()))
        return web.json_response({})

    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/v1/images", take)
    async with TestServer(application, host="127.0.0.1") as server:
        watched = Watched(
            folder=folder, series="s", api=f"http://127.0.0.1:{server.port}", key=None, memory=tmp_path / "memory",
            settle_seconds=0.2,
        )  # fmt: skip
        task = asyncio.create_task(watch(watched, stop, said.append))
        try:
            await work(folder, got, said)  # type: ignore[misc]
        finally:
            stop.set()
            await task


async def sent(got: list[tuple[str, bytes]], name: str) -> None:
    """Once the producer has it."""

    async def there() -> bool | None:
        return name in [each for each, _ in got] or None

    await eventually(f"{name} at the producer", there, 20.0)


@pytest.mark.parametrize("name", ["thumbnail", "comment", "png", "gif", "bmp", "webp", "avif", "tiff", "motion photo"])
async def test_an_upload_that_pauses_is_sent_once_and_whole(tmp_path: Path, name: str) -> None:
    """Also where an end marker stands in the half that is there: what settles later is sent before it."""
    data = FILES[name]
    half = data.rfind(b"\xff\xd9", 0, len(data) - 2) + 2 if name in ("thumbnail", "comment") else len(data) // 2

    async def work(folder: Path, got: list[tuple[str, bytes]], _: list[str]) -> None:
        (folder / "a.jpg").write_bytes(data[:half])
        for number in range(3):
            (folder / f"{number}.jpg").write_bytes(FILES["jpeg"])
            await sent(got, f"{number}.jpg")
        assert "a.jpg" not in [each for each, _ in got]
        with (folder / "a.jpg").open("ab") as file:
            file.write(data[half:])
        await sent(got, "a.jpg")
        assert [each for each in got if each[0] == "a.jpg"] == [("a.jpg", data)]

    await _watched(tmp_path, work)


async def test_trailing_bytes_cost_no_minute(tmp_path: Path) -> None:
    """A film of 200 KB behind the end, of which the image says nothing: it is sent as soon as it has settled."""

    async def work(folder: Path, got: list[tuple[str, bytes]], _: list[str]) -> None:
        (folder / "a.jpg").write_bytes(FILES["jpeg"] + b"v" * 200_000)
        await sent(got, "a.jpg")

    await _watched(tmp_path, work)


async def test_bins_are_named_once(tmp_path: Path) -> None:
    """And nothing in them is sent."""

    async def work(folder: Path, got: list[tuple[str, bytes]], said: list[str]) -> None:
        (folder / "$Recycle.Bin").mkdir()
        (folder / "$Recycle.Bin" / "a.jpg").write_bytes(FILES["jpeg"])
        (folder / "b.jpg").write_bytes(FILES["jpeg"])
        await sent(got, "b.jpg")
        assert [each for each, _ in got] == ["b.jpg"]
        assert sum("$Recycle.Bin" in line for line in said) <= 1

    await _watched(tmp_path, work)
