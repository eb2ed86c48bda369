"""Is the verdict right? Each stage is slowed in turn, named, given one more of what is named, and measured again."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench import load
from bench.load import Images
from bench.plan import Plan
from bench.records import Record
from bench.services import service
from bench.stacks import Bench, Ran
from trapstream.core.messages import ModelInfo

WITHIN = 0.2
"""The measured gain may differ from the predicted one by this share."""
_SMALL, _LARGE = Images(size=(128, 96), count=8), Images(size=(2048, 1536), count=8)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One stage, slowed."""

    stage: str
    how: str
    uri: str | None = None
    """In place of small drawn images."""
    images: Images = _SMALL
    model: tuple[float, int] = (0.0, 4)
    """Seconds for an image, and instances."""
    settings: dict[str, str] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)
    """Settings with one more worker."""
    more_instances: int | None = None
    sync: float = 0.0
    """Seconds of the disk's sync under the aggregator. None with what was advised: a faster disk."""


def cases(slow: str) -> list[_Case]:
    """`slow` is the URL of a file that takes long."""
    return [
        _Case(
            stage="fetch", how="a slow file server", uri=slow,
            settings={"TRAPSTREAM_FETCHES": "4"}, more={"TRAPSTREAM_FETCHES": "5"},
        ),
        _Case(
            stage="decode", how="one thread, large images", images=_LARGE,
            settings={"TRAPSTREAM_DECODERS": "1"}, more={"TRAPSTREAM_DECODERS": "2"},
        ),
        _Case(stage="detect", how="a model that takes 20 ms", model=(0.02, 1), more_instances=2),
        _Case(
            stage="slabs", how="two requests in flight", model=(0.02, 4),
            settings={"TRAPSTREAM_SLABS": "2"}, more={"TRAPSTREAM_SLABS": "3"},
        ),
        # The fold takes as many at once as wait, so that only a small transaction lets a slow disk limit.
        _Case(
            stage="fold", how="a disk that takes 0.2 s", model=(0.02, 1), sync=0.2,
            settings={"TRAPSTREAM_FOLD_BATCH": "4"}, more={},
        ),
    ]  # fmt: skip


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


def predictions(plan: Plan, bench: Bench) -> list[Record]:
    """For each case: the rate with one more, divided by what the verdict had said. `bench` has but a producer."""
    small = load.uris(_SMALL, plan.say)
    with slow_server(small[0], 0.1) as slow:
        return [_come_true(plan, bench, case) for case in cases(slow)]


def _come_true(plan: Plan, bench: Bench, case: _Case) -> Record:
    uris = [case.uri] if case.uri is not None else load.uris(case.images, plan.say)
    manifest = load.write_manifest(plan.work / f"{case.stage}.jsonl", uris, 5_000)
    seconds, instances = case.model
    slow = bench.load_model(case.stage, seconds, instances)
    before = _sample(plan, bench, case, manifest, slow, case.settings, case.sync)
    more = case.more_instances or instances
    model = bench.load_model(f"{case.stage}-more", seconds, more)
    after = _sample(plan, bench, case, manifest, model, case.settings | case.more, 0.0)
    verdict = before.verdict
    named = verdict is not None and verdict.limits == case.stage
    gain = (verdict.max_gain if verdict.gain is None else verdict.gain) if verdict is not None and named else None
    value = after.rate / before.rate / gain if gain is not None else 0.0
    return Record(
        bench="verdict",
        what=f"{case.stage}, {case.how}: gain / said",
        value=value,
        unit="x",
        runs=(value,),
        target=f"{1 - WITHIN:g} to {1 + WITHIN:g}",
        reached=gain is not None and abs(value - 1) <= WITHIN,
        details={"before": before.rate, "after": after.rate, "verdict": verdict.sentence if verdict else None},
    )


def _sample(
    plan: Plan, bench: Bench, case: _Case, manifest: Path, model: ModelInfo, settings: dict[str, str], sync: float
) -> Ran:
    plan.progress(f"{case.stage}, {case.how}", 1 if (settings, sync) == (case.settings, case.sync) else 2)
    with _services(bench, settings, sync) as seen:
        return asyncio.run(_sampled(seen, manifest, model, plan.seconds))


async def _sampled(bench: Bench, manifest: Path, model: ModelInfo, seconds: float) -> Ran:
    return await bench.sample(await bench.submit(manifest, model), seconds)


@contextlib.contextmanager
def _services(bench: Bench, settings: dict[str, str], sync: float) -> Iterator[Bench]:
    """An aggregator whose disk takes `sync` seconds longer, and a consumer."""
    all_of_them = {"TRAPSTREAM_ALLOW_PRIVATE_NETWORKS": "true", "TRAPSTREAM_STATUS_SECONDS": "0.1"} | settings
    disk = ("bench.slow_disk", str(sync))
    with (
        service(bench, "aggregator", settings=all_of_them, module=disk if sync else ()) as folding,
        service(folding, "consumer", settings=all_of_them) as seen,
    ):
        yield seen
