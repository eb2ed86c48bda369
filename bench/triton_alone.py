"""Triton alone: a closed loop of requests for images that are decoded already and lie in shared memory.

NVIDIA's perf_analyzer does the same where it is installed: do the two agree? It comes with Triton's SDK; the package
perf-analyzer has it for systems with glibc 2.38, and the packages tritonclient up to 2.50 for older ones.
"""

import asyncio
import base64
import contextlib
import csv
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from bench.stacks import BenchError
from bench.timed import entry_of
from consumer.slabs import Slab
from trapstream.core import json_codec
from trapstream.core.errors import Permanent
from trapstream.core.messages import ModelInfo
from trapstream.images.decode import Decoder, Encoded

REQUEST_IMAGES = 8
"""As the consumer sends them: one decode batch."""
_LET_GO_SECONDS = 10.0
_COMMAND = "perf_analyzer"
_PATIENCE = 600.0


@dataclass(frozen=True)
class Alone:
    """The rate and the latency of the server."""

    rate: float
    """Images a second."""
    milliseconds: tuple[float, float]
    """Of a request: median and 99th percentile."""


def decoded(encoded: Sequence[bytes], model: ModelInfo, images: int = REQUEST_IMAGES) -> NDArray[np.uint8]:
    """A request's pixels [n, h, w, 3]: the first images of one shape, as the consumer lays them out."""
    decoder = Decoder(images, 1, "cpu", 200_000_000)
    found = decoder.decode(
        [Encoded(data, model.image_size, model.stride, model.fixed, model.stretch) for data in encoded[: 4 * images]]
    )
    whole = [one.pixels for one in found if not isinstance(one, Permanent)]
    alike = [pixels for pixels in whole if pixels.shape == whole[0].shape]
    return np.stack([alike[number % len(alike)] for number in range(images)])


@contextlib.contextmanager
def shared(pixels: NDArray[np.uint8], copies: int) -> Iterator[Slab]:
    """`copies` requests' pixels side by side in shared memory."""
    slab = Slab(f"trapstream-bench-{os.getpid()}")
    slab.hold(copies * pixels.nbytes)
    for copy in range(copies):
        slab.pixels(copy * pixels.nbytes, pixels.shape)[:] = pixels
    try:
        yield slab
    finally:
        slab.close()


async def _let_go(client: triton.InferenceServerClient, region: str) -> None:
    """Unregisters shared memory. Triton answers a request a moment before it lets go of its memory."""
    until = time.monotonic() + _LET_GO_SECONDS
    while True:
        try:
            await client.unregister_system_shared_memory(region)
        except InferenceServerException as error:
            if "in use" not in str(error) or time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def closed_loop(
    server: str, model: ModelInfo, pixels: NDArray[np.uint8], in_flight: int, seconds: float
) -> Alone:
    """`in_flight` requests at any time for `seconds`; each is sent once the one before it is answered."""
    took: list[float] = []
    answered = 0
    with shared(pixels, in_flight) as slab:
        async with triton.InferenceServerClient(server) as client:
            assert slab.name is not None
            await client.register_system_shared_memory(slab.name, f"/{slab.name}", slab.size)

            async def ask(slot: int) -> None:
                given = triton.InferInput("images", list(pixels.shape), "UINT8")
                given.set_shared_memory(slab.name, pixels.nbytes, slot * pixels.nbytes)
                outputs = [triton.InferRequestedOutput(name) for name in ("detections", "count")]
                await client.infer(entry_of(model), [given], outputs=outputs)

            async def again_and_again(slot: int, until: float) -> None:
                nonlocal answered
                while (began := time.perf_counter()) < until:
                    await ask(slot)
                    took.append(time.perf_counter() - began)
                    answered += len(pixels)

            try:
                await asyncio.gather(*(ask(slot) for slot in range(in_flight)))  # the warm-up
                begin = time.perf_counter()
                await asyncio.gather(*(again_and_again(slot, begin + seconds) for slot in range(in_flight)))
                spent = time.perf_counter() - begin
            finally:
                await _let_go(client, slab.name)
    median, late = np.quantile(took, (0.5, 0.99))
    return Alone(answered / spent, (1000 * float(median), 1000 * float(late)))


def has_perf_analyzer() -> bool:
    """Whether it is installed."""
    return shutil.which(_COMMAND) is not None


def perf_analyzer(
    server: str, model: ModelInfo, pixels: NDArray[np.uint8], in_flight: int, seconds: float, work: Path
) -> float:
    """Images a second with `in_flight` requests of `pixels` [n, h, w, 3] at any time, by perf_analyzer's count.

    Three windows of a third of `seconds`, whether they agree or not: how far runs agree is told by repeating them.
    BenchError where it fails.
    """
    work.mkdir(parents=True, exist_ok=True)
    data, table = work / "pixels.json", work / "perf_analyzer.csv"
    images = [
        {"images": {"content": {"b64": base64.b64encode(image.tobytes()).decode()}, "shape": list(image.shape)}}
        for image in pixels
    ]
    data.write_bytes(json_codec.encode({"data": images}))
    command = [
        _COMMAND, "-m", entry_of(model), "-u", server, "-i", "grpc", "-b", str(len(pixels)), "-f", str(table),
        "--concurrency-range", str(in_flight), "--shared-memory", "system", "--input-data", str(data),
        "--shape", f"images:{','.join(map(str, pixels.shape[1:]))}", "--stability-percentage", "999",
        "--measurement-interval", str(int(1000 * seconds / 3)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode or not table.exists():
        raise BenchError(f"perf_analyzer failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    [row] = csv.DictReader(table.read_text().splitlines())
    return float(row["Inferences/Second"])
