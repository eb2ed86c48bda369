"""How busy Triton is: the time that its instances ran, for all consumers; and how many images keep them at work."""

import asyncio
import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from consumer.lanes import Depth, depth
from trapstream.core.messages import ModelInfo
from trapstream.core.triton_names import triton_name
from trapstream.core.verdict import StageTotals

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_TOGETHER_SECONDS = 3.0
"""Models used within this of each other are at work together: one of an earlier job is idle."""


@dataclass(slots=True)
class _Model:
    """One that this consumer uses, as of the last look."""

    used: float = 0.0
    """When it was used last, by the monotonic clock."""
    instances: int = 0
    """0 until Triton was asked."""
    max_batch: int = 1
    busy: float = 0.0
    """Seconds, of all its instances, since the server started."""
    images: int = 0
    image_seconds: float | None = None
    """That an instance took for an image, between the last two looks that saw any."""


class ServerLoad:
    """What the instances of the models that this consumer uses did, as Triton was last asked."""

    def __init__(self, server: str, batch: int) -> None:
        """`batch`: how many images the consumer has together."""
        self._server = server
        self._batch = batch
        self._models: dict[str, _Model] = defaultdict(_Model)

    def use(self, model: ModelInfo) -> None:
        """Says that the model is used now."""
        self._models[triton_name(model.name, model.version)].used = time.monotonic()

    def totals(self) -> StageTotals:
        """Of all these models together."""
        models = self._models.values()
        since = max((model.used for model in models), default=0.0) - _TOGETHER_SECONDS
        return StageTotals(
            workers=max(1, sum(model.instances for model in models if model.used >= since)),
            busy=sum(model.busy for model in models),  # of idle ones too: a sum that only grows
            images=sum(model.images for model in models),
        )

    def depth(self, model: ModelInfo) -> Depth:
        """How many images may be at the server, as `lanes.depth`. A model of unknown speed gets few, one by one."""
        known = self._models.get(triton_name(model.name, model.version))
        if known is None or known.image_seconds is None:
            return Depth(request=1, in_flight=self._batch)
        return depth(known.instances, known.max_batch, self._batch, known.image_seconds)

    async def watch(self) -> None:
        """Looks twice a second, for ever, until cancelled. A server that is away tells nothing new."""
        async with triton.InferenceServerClient(self._server) as client:
            while True:
                for name, model in list(self._models.items()):
                    with contextlib.suppress(InferenceServerException):  # the detector's own watch says so
                        await _look(client, name, model)
                await asyncio.sleep(_LOOK_SECONDS)


async def _look(client: triton.InferenceServerClient, name: str, model: _Model) -> None:
    if not model.instances:
        reply = await client.get_model_config(name, client_timeout=_ANSWER_SECONDS)
        model.max_batch = reply.config.max_batch_size or 1
        model.instances = sum(group.count for group in reply.config.instance_group) or 1
    reply = await client.get_inference_statistics(name, client_timeout=_ANSWER_SECONDS)
    busy, images = 0.0, 0
    for version in reply.model_stats:
        for batch in version.batch_stats:
            busy += (batch.compute_input.ns + batch.compute_infer.ns + batch.compute_output.ns) / 1e9
            images += batch.batch_size * batch.compute_infer.count
    anew = (busy, images) < (model.busy, model.images)  # the server was started anew
    before = (0.0, 0) if anew else (model.busy, model.images)
    if images > before[1]:
        model.image_seconds = (busy - before[0]) / (images - before[1])
    model.busy, model.images = busy, images
