"""How a service lives: start, run, drain, stop. Health and metrics over HTTP; a second signal forces."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import msgspec
import prometheus_client
import uvloop
from aiohttp import web

from trapstream.core import log
from trapstream.core.errors import Fatal
from trapstream.core.meters import Meters
from trapstream.core.settings import CoreSettings

COULD_NOT_START = 3
_SPARE = 2.0
"""Seconds to unwind in, beside the drain itself."""


class Health:
    """What /healthz answers: 200 once the service said that it is ready, 503 before."""

    def __init__(self) -> None:
        self.ready = False
        self.details: dict[str, object] = {}
        self.meters = Meters()
        """How busy its stages are: also told here, for who asks what limits."""


S = TypeVar("S", bound=CoreSettings)
Main = Callable[[asyncio.Event, Health], Coroutine[Any, Any, None]]


def run(name: str, kind: type[S], body: Callable[[S, asyncio.Event, Health], Coroutine[Any, Any, None]]) -> int:
    """Runs a service, set by the environment, to its end. Returns the exit status: 0 stopped, 3 could not go on.

    `body` returns after its event, which is the stop, is set and its work is drained.
    """
    settings = kind()  # type: ignore[call-arg]  # the environment gives them
    log.setup(settings.log_format, settings.log_level, service=name, member=settings.member)
    fatal: list[BaseException] = []
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, partial(body, settings)))
    except* Fatal as group:
        fatal = _leaves(group)
    for error in fatal:
        log.get_logger().error("cannot go on", error=str(error))
    return COULD_NOT_START if fatal else 0


async def _serve(settings: CoreSettings, main: Main) -> None:
    stop, health = asyncio.Event(), Health()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            log.get_logger().warning("forced to stop", signal=number)
            os._exit(128 + number)
        log.get_logger().info("draining", signal=number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    async with _http(settings, health):
        await _to_its_end(main(stop, health), stop, health, settings.drain_seconds)
    log.get_logger().info("stopped")


async def _to_its_end(body: Coroutine[Any, Any, None], stop: asyncio.Event, health: Health, drain: float) -> None:
    """Runs `body` until it returns. Told to stop, it has the time of a drain; hardly any where it never was ready.

    A server that is away can hold up a start or a drain for ever; the work that is cut short is done again.
    """
    work, stopping = asyncio.ensure_future(body), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=_SPARE + drain if health.ready else _SPARE)
        if not work.done():
            log.get_logger().warning("drain cut short", ready=health.ready)
    finally:
        stopping.cancel()
        work.cancel()
    await asyncio.wait({work}, timeout=_SPARE)
    if not work.done():
        log.get_logger().warning("stopped without an end of the work")
        os._exit(0)
    if not work.cancelled():
        work.result()


@contextlib.asynccontextmanager
async def _http(settings: CoreSettings, health: Health) -> AsyncIterator[None]:
    async def healthz(_: web.Request) -> web.Response:
        told = {"ready": health.ready, **health.details}
        if health.meters.measured:
            told |= {
                "load": msgspec.to_builtins(health.meters.load()),
                "totals": msgspec.to_builtins(health.meters.totals()),
            }
        return web.json_response(told, status=200 if health.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=prometheus_client.generate_latest(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.http_host, settings.http_port).start()
        except OSError as error:
            raise Fatal(
                f"port {settings.http_port} for health and metrics is taken ({error.strerror}); "
                "set TRAPSTREAM_HTTP_PORT to a free one, or to 0"
            ) from error
        yield
    finally:
        await runner.cleanup()


def _leaves(group: BaseExceptionGroup[Fatal]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
