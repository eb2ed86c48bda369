"""Kafka's download: cut connections, wrong bytes and company, without the internet."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import stamina

from trapstream.local import jars
from trapstream.local.state import StackError

CONTENT = {f"lib{number}": bytes([number]) * 300_000 for number in range(4)}
PINNED = tuple(
    jars.Jar("org.example", name, "1.0", len(body), hashlib.sha256(body).hexdigest()) for name, body in CONTENT.items()
)


class Repository(ThreadingHTTPServer):
    """A Maven repository whose first answers for each jar are spoiled."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.spoiled: dict[str, list[str]] = {}
        """Jar to what goes wrong, one after the other."""
        self.asked: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One answer of the repository."""

    server: Repository

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1].removesuffix("-1.0.jar")
        if name not in CONTENT:
            self.send_error(404)
            return
        self.server.asked[name] += 1
        faults = self.server.spoiled.get(name, [])
        fault = faults.pop(0) if faults else ""
        if fault == "away":
            self.send_error(503)
            return
        body = bytes(300_000) if fault == "wrong" else CONTENT[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 100_000 if fault == "cut" else None])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Attempts are told as progress, as in the process that downloads."""
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setattr(jars, "pinned", lambda: PINNED)
    with Repository() as server, stamina.set_testing(True, attempts=4):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def assert_complete(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{name}-1.0.jar": body for name, body in CONTENT.items()
    }


def test_cut_connections_wrong_bytes_and_errors_are_survived(repository: Repository, tmp_path: Path) -> None:
    repository.spoiled = {"lib0": ["cut", "cut"], "lib1": ["wrong"], "lib2": ["away", "cut", "wrong"]}
    lines: list[str] = []
    folder = jars.ensure(tmp_path / "cache", lines.append, repository.address)
    assert_complete(folder)
    assert repository.asked == {"lib0": 3, "lib1": 2, "lib2": 4, "lib3": 1}
    assert any("the connection broke" in line for line in lines)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [folder.name]


def test_what_is_complete_is_kept_and_a_half_file_is_never_used(repository: Repository, tmp_path: Path) -> None:
    repository.spoiled = {"lib3": ["cut"] * 4}
    with pytest.raises(StackError, match="could not be downloaded"):
        jars.ensure(tmp_path, print, repository.address)
    assert not jars.folder(tmp_path).exists()
    assert_complete(jars.ensure(tmp_path, print, repository.address))
    assert repository.asked == {"lib0": 1, "lib1": 1, "lib2": 1, "lib3": 5}


def test_a_process_killed_in_the_middle_leaves_nothing_that_is_trusted(repository: Repository, tmp_path: Path) -> None:
    half = tmp_path / f"{jars.folder(tmp_path).name}.part" / "begun" / "org" / "example" / "lib0" / "1.0"
    half.mkdir(parents=True)
    (half / "lib0-1.0.jar").write_bytes(b"half")
    assert_complete(jars.ensure(tmp_path, print, repository.address))


def test_two_at_once_download_once(repository: Repository, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(jars.ensure(tmp_path, print, repository.address)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_complete(found[0])
    assert set(found) == {jars.folder(tmp_path)}
    assert set(repository.asked.values()) == {1}


def test_no_repository_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jars, "pinned", lambda: PINNED)
    with stamina.set_testing(True, attempts=2), pytest.raises(StackError) as error:
        jars.ensure(tmp_path, print, "http://127.0.0.1:9")
    assert "check the connection" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_lock_file_pins_one_kafka() -> None:
    pinned = jars.pinned()
    assert len({jar.filename for jar in pinned}) == len(pinned) > 40
    kafka = {jar.version for jar in pinned if jar.group == "org.apache.kafka"}
    assert kafka == {jars.KAFKA_VERSION}
    assert {"kafka_2.13", "kafka-clients", "log4j-slf4j-impl"} <= {jar.artifact for jar in pinned}
    assert all(len(jar.sha256) == 64 for jar in pinned)
