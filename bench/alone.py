"""Triton alone: a closed loop of requests for images that are decoded already and lie in shared memory."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from bench.timed import entry_of
from consumer.slabs import Slab
from trapstream.core.errors import Permanent
from trapstream.core.messages import ModelInfo
from trapstream.images.decode import Decoder, Encoded

REQUEST_IMAGES = 8
"""As the consumer sends them: one decode batch."""
_LET_GO_SECONDS = 10.0


@dataclass(frozen=True)
class Alone:
    """What the server did."""

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

            async def ask(place: int) -> None:
                given = triton.InferInput("images", list(pixels.shape), "UINT8")
                given.set_shared_memory(slab.name, pixels.nbytes, place * pixels.nbytes)
                outputs = [triton.InferRequestedOutput(name) for name in ("detections", "count")]
                await client.infer(entry_of(model), [given], outputs=outputs)

            async def again_and_again(place: int, until: float) -> None:
                nonlocal answered
                while (began := time.perf_counter()) < until:
                    await ask(place)
                    took.append(time.perf_counter() - began)
                    answered += len(pixels)

            try:
                await asyncio.gather(*(ask(place) for place in range(in_flight)))  # the warm-up
                begin = time.perf_counter()
                await asyncio.gather(*(again_and_again(place, begin + seconds) for place in range(in_flight)))
                spent = time.perf_counter() - begin
            finally:
                await _let_go(client, slab.name)
    median, late = np.quantile(took, (0.5, 0.99))
    return Alone(answered / spent, (1000 * float(median), 1000 * float(late)))
