"""A server of images that hangs, refuses or is not there: its images wait, all others go on."""

import http.server
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import outages
from tests.integration.service import service
from tests.stacks import RunningStack
from trapstream.core import kafka
from trapstream.core.messages import Outcome

HERE, THERE = 30, 30
"""Images on this machine, and at the host."""


class Host:
    """A web server that can be well, refuse everything, hang, or be gone."""

    def __init__(self, photo: bytes) -> None:
        self.state = "well"
        self.asked = 0
        self._release = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked += 1
                if host.state == "hangs":
                    host._release.wait(30)
                well = host.state == "well" and "broken" not in self.path
                self.send_response(200 if well else 503)
                self.send_header("Content-Length", str(len(photo) if well else 0))
                self.end_headers()
                self.wfile.write(photo if well else b"")

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._handler = Handler
        self._server: http.server.ThreadingHTTPServer | None = None

    def become(self, state: str) -> None:
        """Changes at once."""
        self.state = state
        if state == "gone":
            self.close()
        elif self._server is None:
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
            self._server.daemon_threads = True
            threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        self._release.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def host(photo: Path) -> Iterator[Host]:
    """A web server of this test's own."""
    made = Host(photo.read_bytes())
    yield made
    made.close()


def _uris(host: Host, photo: Path) -> list[str]:
    """The host's images first, so that all others stand behind them."""
    return [f"http://127.0.0.1:{host.port}/{n}.png" for n in range(THERE)] + [photo.as_uri()] * HERE


@pytest.mark.parametrize("state", ["refuses", "hangs", "gone"])
async def test_a_sick_host_is_not_a_bad_image(
    stack: RunningStack, picky: str, host: Host, photo: Path, member: str, tmp_path: Path, state: str
) -> None:
    """While a host answers nothing its images wait, said in log and metric, others are done, and none fails."""
    await kafka.create_topics(stack.kafka)
    spec, port = outages.job(member, picky, HERE + THERE), outages.free_port()
    host.become(state)
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        allow_private_networks="true", fetch_seconds="2", http_port=str(port),
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, spec.job) as found:
            await outages.publish(stack.kafka, spec, _uris(host, photo))
            await found.reach(lambda done: set(range(THERE, HERE + THERE)) <= done)
            await outages.announced(process, port, "fetch host")
            await outages.outage()
            assert set(found.outcomes) == set(range(THERE, HERE + THERE))
            before = host.asked
            host.become("well")
            await found.reach(lambda done: len(done) == HERE + THERE)
            await outages.over(port, "fetch host")
            assert process.stop() == 0, process.log
    assert set(found.outcomes.values()) == {Outcome.EMPTY}
    assert before <= 3 * THERE, "one at a time is tried"


async def test_patience_ends(
    stack: RunningStack, picky: str, host: Host, photo: Path, member: str, tmp_path: Path
) -> None:
    """A host that stays away for longer than the patience costs its own images, and the job goes on to its end."""
    await kafka.create_topics(stack.kafka)
    spec = outages.job(member, picky, HERE + THERE)
    host.become("refuses")
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        allow_private_networks="true", fetch_seconds="2", host_patience_seconds="3",
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, spec.job) as found:
            await outages.publish(stack.kafka, spec, _uris(host, photo))
            await found.reach(lambda done: len(done) == HERE + THERE)
            assert process.stop() == 0, process.log
    assert {found.outcomes[seq] for seq in range(THERE)} == {Outcome.FAILED}
    assert {found.outcomes[seq] for seq in range(THERE, HERE + THERE)} == {Outcome.EMPTY}


async def test_a_host_that_answers_some_keeps_the_rule_for_single_images(
    stack: RunningStack, picky: str, host: Host, photo: Path, member: str, tmp_path: Path
) -> None:
    """Images that fail at a host which answers for others fail soon, each for itself."""
    await kafka.create_topics(stack.kafka)
    uris = [f"http://127.0.0.1:{host.port}/{'broken' if n % 3 == 0 else n}-{n}.png" for n in range(60)]
    spec = outages.job(member, picky, len(uris))
    host.become("well")
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        allow_private_networks="true", fetch_seconds="2",
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, spec.job) as found:
            await outages.publish(stack.kafka, spec, uris)
            await found.reach(lambda done: len(done) == len(uris), 60)
            assert process.stop() == 0, process.log
    failed = {seq for seq, outcome in found.outcomes.items() if outcome is Outcome.FAILED}
    assert failed == set(range(0, 60, 3))


async def test_a_stop_does_not_wait_for_a_sick_host(
    stack: RunningStack, picky: str, host: Host, photo: Path, member: str, tmp_path: Path
) -> None:
    """Told to stop while images wait for their host, it ends soon; the next one to start does them."""
    await kafka.create_topics(stack.kafka)
    spec, port = outages.job(member, picky, HERE + THERE), outages.free_port()
    host.become("refuses")
    with service(
        "consumer", tmp_path, stack.kafka, triton=stack.triton, shm_prefix=f"{stack.shm_prefix}{member}",
        allow_private_networks="true", fetch_seconds="2", http_port=str(port), drain_seconds="60",
    ) as process:  # fmt: skip
        async with outages.answers(stack.kafka, spec.job) as found:
            await outages.publish(stack.kafka, spec, _uris(host, photo))
            await outages.announced(process, port, "fetch host")
            await found.reach(lambda done: len(done) == HERE)
            process.send(signal.SIGTERM)
            assert process.wait(15) == 0, process.log
            host.become("well")
            process.start()
            await found.reach(lambda done: len(done) == HERE + THERE)
    assert set(found.outcomes.values()) == {Outcome.EMPTY}
