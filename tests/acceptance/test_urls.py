"""Images behind URLs: a server that answers, refuses, fails, dawdles, or is not there."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images
from tests.acceptance.command import Command


class _Server(http.server.BaseHTTPRequestHandler):
    release = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/good.jpg":
            self._answer(200, images.jpeg(320, 240, 7))
        elif self.path == "/moved.jpg":
            self.send_response(302)
            self.send_header("Location", "/good.jpg")
            self.end_headers()
        elif self.path == "/away.jpg":
            self.send_response(302)
            self.send_header("Location", "/away.jpg")
            self.end_headers()
        elif self.path == "/slow.jpg":
            self.release.wait(30)  # longer than the consumer's limit; ends with the tests
        else:
            self._answer(500 if self.path == "/sick.jpg" else 404, b"no")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """A web server on this machine."""
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    serving.daemon_threads = True
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    _Server.release.set()
    serving.shutdown()


def test_every_kind_of_server(trapstream: Command, server: str, tmp_path: Path) -> None:
    """A URL that answers is read; each other one becomes its own failure, with its reason."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/x.jpg"
        expected = {
            f"{server}/good.jpg": None,
            f"{server}/moved.jpg": None,
            f"{server}/missing.jpg": "not found",
            f"{server}/sick.jpg": "500",
            f"{server}/slow.jpg": "timed out",
            f"{server}/away.jpg": "redirect",
            nobody: "not reachable",
        }
        (tmp_path / "list.txt").write_text("\n".join(expected))
        output = tmp_path / "results.json"
        ran = trapstream("run", tmp_path / "list.txt", "-o", output)
    assert ran.status == 0, ran.err
    entries = {entry["file"]: entry.get("failure") for entry in json.loads(output.read_text())["images"]}
    assert set(entries) == set(expected)
    for url, reason in expected.items():
        if reason is None:
            assert entries[url] is None
        else:
            assert reason in (entries[url] or ""), (url, entries[url])
