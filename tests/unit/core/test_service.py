"""The life of a service: real processes, real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import patient

PROGRAM = """
import asyncio, signal, sys
from trapstream.core import metrics, service
from trapstream.core.errors import Fatal
from trapstream.core.settings import CoreSettings

async def main(_, stop, health):
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, setattr, health, "ready", True)
    metrics.FOLDED.inc(3)
    print("running", flush=True)
    if "fatal" in sys.argv:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
    await stop.wait()
    if "stuck" in sys.argv:
        await asyncio.Event().wait()
    while "deaf" in sys.argv:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("not listening", flush=True)
    print("drained", flush=True)

async def fail():
    raise Fatal("the disk is full; make room and start again")

sys.exit(service.run("trial", CoreSettings, main))
"""

Start = Callable[..., "subprocess.Popen[str]"]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def port() -> int:
    """Where the service under test answers."""
    return free_port()


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    """Starts the trial service; every one that is left is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        environment = os.environ | {"TRAPSTREAM_HOME": str(tmp_path), "TRAPSTREAM_HTTP_PORT": str(port)} | variables
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_line(stream: Any, word: str) -> str:
    """The next line that holds `word`; the test's own time limit is the deadline."""
    for line in stream:
        if word in line:
            return str(line)
    raise AssertionError(f"the process ended without {word!r}")


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(start: Start, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C let the work end; the exit status is 0."""
    process = start()
    wait_for_line(process.stdout, "running")
    process.send_signal(number)
    out, _ = process.communicate(timeout=patient(30))
    assert (process.returncode, out.strip()) == (0, "drained")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces(start: Start, number: signal.Signals) -> None:
    """A service that cannot drain ends at the second signal, and the exit status names the signal."""
    process = start("stuck")
    wait_for_line(process.stdout, "running")
    process.send_signal(number)
    wait_for_line(process.stderr, "draining")
    process.send_signal(number)
    process.communicate(timeout=patient(30))
    assert process.returncode == 128 + number


def test_a_start_that_hangs_can_be_stopped(start: Start) -> None:
    """A service that waits for something before it is ready ends soon after the first signal, with status 0."""
    process = start("stuck")
    wait_for_line(process.stdout, "running")
    process.terminate()
    _, err = process.communicate(timeout=patient(10))
    assert process.returncode == 0
    assert "drain cut short" in err


@pytest.mark.parametrize("how", ["stuck", "deaf"])
def test_a_drain_that_hangs_has_an_end(start: Start, port: int, how: str) -> None:
    """A drain that does not end, even one that cannot be cancelled, is cut short after its time; the status is 0."""
    process = start(how, TRAPSTREAM_DRAIN_SECONDS="0.5")
    wait_for_line(process.stdout, "running")
    process.send_signal(signal.SIGUSR1)
    while get(port, "/healthz")[0] == 503:
        assert process.poll() is None
    process.terminate()
    _, err = process.communicate(timeout=patient(15))
    assert process.returncode == 0
    assert "drain cut short" in err
    assert ("stopped without an end" in err) == (how == "deaf")


def test_health_says_when_it_is_ready(start: Start, port: int) -> None:
    """Health is 503 until the service says that it is ready, then 200."""
    process = start()
    wait_for_line(process.stdout, "running")
    status, body = get(port, "/healthz")
    assert (status, json.loads(body)["ready"]) == (503, False)
    process.send_signal(signal.SIGUSR1)
    while (answer := get(port, "/healthz"))[0] == 503:
        assert process.poll() is None
    assert (answer[0], json.loads(answer[1])["ready"]) == (200, True)


def test_metrics_are_served(start: Start, port: int) -> None:
    """The metrics are there in Prometheus' text form."""
    process = start()
    wait_for_line(process.stdout, "running")
    status, body = get(port, "/metrics")
    assert status == 200
    assert "trapstream_folded_total 3.0" in body.splitlines()


def test_a_taken_port_is_one_line(start: Start, port: int) -> None:
    """A port that is taken ends the service with status 3 and one line that says what to do."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        process = start()
        out, err = process.communicate(timeout=patient(30))
    assert (process.returncode, out) == (3, "")
    (line,) = err.splitlines()
    assert str(port) in json.loads(line)["error"]
    assert "TRAPSTREAM_HTTP_PORT" in line


def test_a_fatal_error_in_any_stage_is_one_line(start: Start) -> None:
    """A Fatal from inside nested task groups ends the service with status 3, and no traceback."""
    process = start("fatal")
    _, err = process.communicate(timeout=patient(30))
    assert process.returncode == 3
    (line,) = err.splitlines()
    assert "make room" in json.loads(line)["error"]


def test_every_line_names_the_service(start: Start) -> None:
    """Where nobody looks at a terminal a line is one JSON object, with the service and its member."""
    process = start()
    wait_for_line(process.stdout, "running")
    process.terminate()
    _, err = process.communicate(timeout=patient(30))
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["event"] for line in lines] == ["draining", "stopped"]
    assert all((line["service"], line["member"]) == ("trial", "0") for line in lines)
