"""The supervisor with small children of its own: what it does when they die, hang, refuse or have children."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.waiting import eventually, patient
from trapstream.local import claim, health, ports, processes, state
from trapstream.local.child import Child
from trapstream.local.home import lock_file, shm_prefix
from trapstream.local.plan import Recipe
from trapstream.local.state import Progress, StackError
from trapstream.local.supervise import Beside, Note, supervise

SERVER = "import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)"
PARENT = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "open('/dev/shm/{region}', 'w'); open('ready', 'w'); time.sleep(600)"
)


def python(name: str, code: str, **rest: object) -> Child:
    return Child(name=name, argv=(sys.executable, "-c", code), **rest)  # type: ignore[arg-type]


def server(name: str, port: int, **rest: object) -> Child:
    well = partial(health.http_ok, port, "/")
    return python(name, SERVER.format(port=port), health=well, ports=(port,), **rest)


def ready_file(home: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return (home / "ready").exists()

    return ready


def recipe(*make: Callable[[Path, Mapping[str, int]], Child]) -> Recipe:
    async def children(home: Path, chosen: Mapping[str, int], progress: Progress) -> tuple[Child, ...]:
        return tuple(each(home, chosen) for each in make)

    return children


async def until(true: Callable[[], bool]) -> None:
    async def look() -> bool:
        return true()

    await eventually("what the supervisor does", look)


def is_up(home: Path) -> bool:
    there = state.read(home)
    return there is not None and there.state == "up"


def is_back(home: Path, times: int) -> Callable[[], bool]:
    def back() -> bool:
        web = _process(home, "web")
        return web.restarts == times and web.state == "up"

    return back


@contextlib.asynccontextmanager
async def running(
    home: Path, names: tuple[str, ...], made: Recipe, lines: list[str], beside: Beside | None = None
) -> AsyncIterator[None]:
    """A supervisor in this process, until the end of the block; then all must be gone."""
    task = asyncio.create_task(supervise(home, names, made, lines.append, beside=beside))
    try:
        await until(lambda: task.done() or is_up(home))
        if task.done():
            task.result()
        yield
    finally:
        if not task.done():
            signal.raise_signal(signal.SIGTERM)
        await asyncio.wait([task])
        assert processes.leftovers(shm_prefix(home)) == []
        assert processes.regions(shm_prefix(home)) == []
    task.result()


async def test_a_child_that_dies_comes_back_at_its_port_and_is_reported(tmp_path: Path) -> None:
    lines: list[str] = []
    made = recipe(lambda _, chosen: server("web", chosen["web"]))
    async with running(tmp_path, ("web",), made, lines):
        before = state.read(tmp_path)
        assert before is not None
        for times in (1, 2):
            os.kill(_process(tmp_path, "web").pid or pytest.fail("no pid"), signal.SIGKILL)
            await until(is_back(tmp_path, times))
        after = _process(tmp_path, "web")
        assert after.last_exit == "signal 9"
        assert await health.http_status(before.ports["web"], "/") == 200
    assert any(line.startswith("web: died (signal 9)") for line in lines)
    assert any(line.startswith("web: back in") for line in lines)


async def test_niceness_counts_between_children(tmp_path: Path) -> None:
    """Each is the leader of a group of its own, and all are in one session: between two the system ignores niceness."""
    made = recipe(lambda _, chosen: server("a", chosen["a"]), lambda _, chosen: server("b", chosen["b"]))
    async with running(tmp_path, ("a", "b"), made, []):
        pids = [_process(tmp_path, name).pid or pytest.fail("no pid") for name in ("a", "b")]
        assert [os.getpgid(pid) for pid in pids] == pids
        assert {os.getsid(pid) for pid in pids} == {os.getsid(0)}


async def test_a_child_that_hangs_is_ended_and_comes_back(tmp_path: Path) -> None:
    """Stopped as it stands, it neither dies nor answers: after its time it is killed, started again and reported."""
    lines: list[str] = []

    def web(_: Path, chosen: Mapping[str, int]) -> Child:
        return server("web", chosen["web"], alive=partial(health.http_alive, chosen["web"], "/"), silent_seconds=3)

    async with running(tmp_path, ("web",), recipe(web), lines):
        pid = _process(tmp_path, "web").pid or pytest.fail("no pid")
        os.kill(pid, signal.SIGSTOP)
        await until(is_back(tmp_path, 1))
        assert not psutil.pid_exists(pid)
        assert _process(tmp_path, "web").last_exit == "no answer for 3 s"
    assert any(line.startswith("web: hangs (no answer for 3 s), starts again") for line in lines)


@pytest.mark.parametrize("made_anew", [False, True], ids=["deleted", "made anew"])
async def test_a_home_that_is_deleted_takes_the_stack_down(tmp_path: Path, made_anew: bool) -> None:
    """One line says so; no process stays, and nothing is made or changed where the home was."""
    home = tmp_path / "home"
    made = recipe(lambda _, chosen: server("web", chosen["web"]))
    task = asyncio.create_task(supervise(home, ("web",), made, print))
    await until(lambda: task.done() or is_up(home))
    web = psutil.Process(_process(home, "web").pid or pytest.fail("no pid"))
    shutil.rmtree(home)
    if made_anew:
        home.mkdir()
        lock_file(home).touch()
    web.kill()
    with pytest.raises(StackError, match=r"the state folder \S+home was deleted or moved away: the stack goes down"):
        async with asyncio.timeout(patient(30)):
            await task
    assert processes.leftovers(shm_prefix(home)) == []
    assert (list(home.iterdir()) == [lock_file(home)]) if made_anew else not home.exists()


async def test_what_goes_on_beside_the_children_cannot_take_them_down(tmp_path: Path) -> None:
    """It is told of the stack that is up; where it fails a line says so, and the children stay."""
    lines: list[str] = []
    seen: list[str] = []

    async def beside(stack: state.Stack, _: Note) -> None:
        seen.append(stack.state)
        raise RuntimeError("no such luck")

    made = recipe(lambda _, chosen: server("web", chosen["web"]))
    async with running(tmp_path, ("web",), made, lines, beside):
        await until(lambda: any("unexpected RuntimeError" in line and "no such luck" in line for line in lines))
        assert _process(tmp_path, "web").state == "up"
    assert seen == ["up"]


async def test_ports_are_kept_and_a_taken_one_is_replaced(tmp_path: Path) -> None:
    made = recipe(lambda _, chosen: server("web", chosen["web"]))
    seen = []
    for _ in range(2):
        async with running(tmp_path, ("web",), made, []):
            seen.append((state.read(tmp_path) or pytest.fail("no state")).ports["web"])
    assert seen[0] == seen[1]
    with socket.create_server((ports.HOST, seen[0])):
        async with running(tmp_path, ("web",), made, []):
            assert (state.read(tmp_path) or pytest.fail("no state")).ports["web"] != seen[0]


async def test_a_port_taken_after_it_was_chosen_is_told(tmp_path: Path) -> None:
    with socket.socket() as thief:

        def steal(_: Path, chosen: Mapping[str, int]) -> Child:
            thief.bind((ports.HOST, chosen["web"]))
            thief.listen()
            return python(
                "web", "raise OSError('in use')", health=partial(health.http_ok, 1, "/"), ports=(chosen["web"],)
            )

        with pytest.raises(StackError, match="another program took port"):
            async with running(tmp_path, ("web",), recipe(steal), []):
                pass


async def test_a_child_that_cannot_start_takes_the_stack_down_and_says_why(tmp_path: Path) -> None:
    made = recipe(
        lambda _, chosen: server("web", chosen["web"]),
        lambda _, __: python("bad", "raise SystemExit('no licence')", stage=1, health=partial(health.http_ok, 1, "/")),
    )
    with pytest.raises(StackError, match=r"bad ended while starting \(exit status 1\): no licence"):
        async with running(tmp_path, ("web",), made, []):
            pass
    there = state.read(tmp_path)
    assert there is not None
    assert there.state == "failed"
    assert "no licence" in (there.error or "")


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    made = recipe(
        lambda *_: python("idle", STUBBORN, health=partial(health.http_ok, 1, "/"), start_seconds=1, stop_seconds=0.2)
    )
    with pytest.raises(StackError, match="idle was not ready after 1 s"):
        async with running(tmp_path, (), made, []):
            pass


async def test_a_second_signal_forces(tmp_path: Path) -> None:
    lines: list[str] = []
    made = recipe(lambda home, _: python("stubborn", STUBBORN, health=ready_file(home), stop_seconds=600))
    async with running(tmp_path, (), made, lines):
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: "stopping" in lines)
        signal.raise_signal(signal.SIGINT)
        await until(lambda: "the stack is down" in lines)
    assert "stubborn: killed, it did not stop" in lines


async def test_grandchildren_and_shared_memory_go_with_a_child_that_died(tmp_path: Path) -> None:
    region = f"{shm_prefix(tmp_path)}web-1"
    code = PARENT.format(region=region)
    made = recipe(lambda home, _: python("web", code, health=ready_file(home), shm_prefix=f"{shm_prefix(home)}web-"))
    async with running(tmp_path, (), made, []):
        pid = _process(tmp_path, "web").pid
        assert pid is not None
        (grandchild,) = psutil.Process(pid).children()
        (tmp_path / "ready").unlink()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)
        await until(is_back(tmp_path, 1))
        assert len(processes.regions(shm_prefix(tmp_path))) == 1


async def test_one_home_has_one_supervisor(tmp_path: Path) -> None:
    async with running(tmp_path, (), recipe(lambda home, _: python("idle", STUBBORN, stop_seconds=0.2)), []):
        with pytest.raises(claim.AlreadyRunning, match="runs in"):
            await supervise(tmp_path, (), recipe(), print)


async def test_another_homes_shared_memory_is_left_alone(tmp_path: Path) -> None:
    mine, other = tmp_path / "a", tmp_path / "b"
    foreign = processes.SHM / f"{shm_prefix(other)}region"
    foreign.touch()
    try:
        async with running(mine, (), recipe(), []):
            pass
        assert foreign.exists()
    finally:
        foreign.unlink()


def _process(home: Path, name: str) -> state.Process:
    return (state.read(home) or pytest.fail("no state")).process(name)
