"""A server of images that takes its time."""

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import load


@contextlib.contextmanager
def slow_server(photo: str, seconds: float) -> Iterator[str]:
    """A server of the file at the URI `photo` that takes `seconds` for each answer, however many at once it is asked
    for. Yields a URL."""
    data = load.local(photo).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is the library's
            time.sleep(seconds)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/photo.jpg"
    finally:
        server.shutdown()
        server.server_close()
