"""Each stage slowed in turn on a real stack: does the verdict name it, and does what it says come true?"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench import load, openloop
from bench.stacks import Bench, Ran
from trapstream.core import kafka, messages, topics
from trapstream.core.messages import JobSpec, Lane, ModelInfo


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


async def sampled(bench: Bench, manifest: Path, model: ModelInfo, seconds: float, filling: int = 16) -> Ran:
    """Some seconds of a job over the manifest."""
    return await bench.sample(await bench.submit(manifest, model), seconds, filling)


@contextlib.asynccontextmanager
async def trickle(
    bench: Bench, uris: Sequence[str], model: ModelInfo, rate: float, lane: Lane = Lane.BULK
) -> AsyncIterator[JobSpec]:
    """A job whose references come at `rate` a second: an open loop, which waits for nobody."""
    spec = openloop.new_job(model, 1_000_000, lane)
    producer = await kafka.start_producer(bench.kafka)
    await producer.send_and_wait(topics.JOBS.name, messages.encode(spec), spec.job.encode())
    sending = asyncio.create_task(openloop.offer(producer, spec, uris, rate, 1, time.monotonic()))
    try:
        yield spec
    finally:
        sending.cancel()
        await producer.stop()
