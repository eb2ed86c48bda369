"""The baseline that a user would otherwise write: decode, letterbox and model in one Python program.

`python -m bench.loop` prints one JSON object. No Kafka, no Triton, no shared memory: as many threads as cores, each of
which does whole batches by itself, so that nothing waits for anything. It is the best threading that we know: DALI,
OpenCV and the runtimes all work without the GIL.
"""

import argparse
import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.load import local
from model_repository.templates.cpu.model import Session, open_session
from trapstream.core import json_codec
from trapstream.core.errors import Permanent
from trapstream.core.messages import ModelInfo
from trapstream.images.decode import Decoder, Encoded
from trapstream.images.letterbox import to_source
from trapstream.models.card import read_card
from trapstream.models.deployed import PRECISION, RUNTIME, Runtime
from trapstream.results.entry import entry

_BATCH = 8
_MOST_PIXELS = 200_000_000
_WARM_SECONDS = 240.0


def _batch(paths: list[Path], decoder: Decoder, session: Session, model: ModelInfo) -> int:
    """Does whole images: bytes to entry. Returns how many."""
    wanted = (model.image_size, model.stride, model.fixed, model.stretch)
    encoded = [Encoded(path.read_bytes(), *wanted) for path in paths]
    for path, decoded in zip(paths, decoder.decode(encoded), strict=True):
        if isinstance(decoded, Permanent):
            continue
        answer = dict(zip(session.outputs, session.run(decoded.pixels[None]), strict=True))
        detections, count = answer["detections"], answer["count"]
        box, rows = decoded.letterbox, detections[0][: int(count.reshape(-1)[0])]
        entry(path.name, None, (box.source_width, box.source_height), to_source(box, rows), 0.005, model)
    return len(paths)


def measure(paths: Sequence[Path], bundle: Path, runtime: Runtime, threads: int, seconds: float) -> dict[str, float]:
    """Images a second of `threads` threads for about `seconds`, and milliseconds of processor time an image."""
    model = read_card(bundle / "card.json").info
    graph, kind = bundle / "model.onnx", runtime.partition("-")[0]
    opened = [open_session(graph, 1, kind, PRECISION[runtime]) for _ in range(1 if runtime == RUNTIME else threads)]
    sessions = opened * (threads // len(opened))  # several threads may use one of ONNX Runtime's, but not of OpenVINO's
    ready, alone, endless = threading.Barrier(threads + 1), threading.Lock(), itertools.cycle(paths)
    until, entries = float("inf"), 0

    def worker(session: Session) -> None:
        nonlocal entries
        try:
            with alone:  # what is made for the first images is made by one after the other
                decoder = Decoder(_BATCH, 1, "cpu", _MOST_PIXELS)
                _batch(list(paths[:_BATCH]), decoder, session, model)  # the warm-up
        except BaseException:
            ready.abort()
            raise
        ready.wait()
        while time.perf_counter() < until:
            with alone:
                batch = list(itertools.islice(endless, _BATCH))
            done = _batch(batch, decoder, session, model)
            with alone:
                entries += done

    workers = [threading.Thread(target=worker, args=(session,), daemon=True) for session in sessions]
    for each in workers:
        each.start()
    try:
        ready.wait(_WARM_SECONDS)
    except threading.BrokenBarrierError:
        raise SystemExit(f"a thread of the loop failed, or was not warm after {_WARM_SECONDS:.0f} s") from None
    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds
    for each in workers:
        each.join()
    took, used = time.perf_counter() - began, time.process_time() - cpu
    return {"rate": entries / took, "images": entries, "cpu_ms": 1000 * used / max(1, entries)}


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uris", type=Path, help="a file with one file:// URI a line")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runtime", choices=PRECISION, default=RUNTIME)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    chosen = parser.parse_args()
    lines = chosen.uris.read_text().splitlines()
    paths = [local(line) for line in lines]
    print(json_codec.encode(measure(paths, chosen.bundle, chosen.runtime, chosen.threads, chosen.seconds)).decode())


if __name__ == "__main__":
    main()
