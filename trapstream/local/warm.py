"""The first image of a model that was just loaded: it is slow, and it shows whether the model works at all."""

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from trapstream.core.triton_names import TRITON_VERSION
from trapstream.local import entry as entries
from trapstream.local.loading import NotLoadedError, reason
from trapstream.models.bundle_store import Bundle

_GREY = 114
_SECONDS = 300.0


async def warm(address: str, entry: str, bundle: Bundle) -> None:
    """Has one grey image answered. `address` is host:port of Triton's gRPC.

    NotLoadedError where the model answers with an error, or with what is no number.
    """
    (given,), outputs = entries.signature(bundle.graph)
    image = np.full((1, *_shape(given.dims, bundle)), _GREY, np.uint8)
    pixels = triton.InferInput(given.name, list(image.shape), "UINT8")
    pixels.set_data_from_numpy(image)
    async with triton.InferenceServerClient(address) as client:
        try:
            answer = await client.infer(
                entry, [pixels], model_version=TRITON_VERSION, client_timeout=_SECONDS,
                outputs=[triton.InferRequestedOutput(output.name) for output in outputs],
            )  # fmt: skip
        except InferenceServerException as error:
            raise NotLoadedError(f"it fails on its first image: {reason(error.message())}") from error
    if not all(np.isfinite(answer.as_numpy(output.name)).all() for output in outputs):
        raise NotLoadedError("it answers its first image with what is no number")


def _shape(dims: tuple[int, ...], bundle: Bundle) -> tuple[int, ...]:
    """Height, width, 3: the graph's own where it is fixed, else a landscape of 4:3."""
    size, stride = bundle.card.image_size, bundle.card.stride
    free = (-(-size * 3 // 4 // stride) * stride, size, 3)
    return tuple(fixed if fixed > 0 else wanted for fixed, wanted in zip(dims, free, strict=True))
