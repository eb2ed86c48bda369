"""How busy the detector is, asked of Triton: the time that its instances ran, of all who use it."""

import asyncio
import time

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


class Served:
    """What the instances of the models that this consumer uses did. Until Triton told, nothing."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._instances: dict[str, int] = {}
        self._max_batch: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        """That an instance took for an image, at the last look that saw any."""
        self._used: dict[str, float] = {}
        self._told: dict[str, tuple[float, int]] = {}

    def note(self, model: ModelInfo) -> None:
        """A model that is used now."""
        self._used[triton_name(model.name, model.version)] = time.monotonic()

    def totals(self) -> StageTotals:
        """Of all these models together, as of the last look."""
        since = max(self._used.values(), default=0.0) - _TOGETHER_SECONDS
        used = [count for entry, count in self._instances.items() if self._used[entry] >= since]
        return StageTotals(
            workers=max(1, sum(used)),
            busy=sum(busy for busy, _ in self._told.values()),  # of idle ones too: a sum that only grows
            images=sum(images for _, images in self._told.values()),
        )

    def depth(self, model: ModelInfo, batch: int) -> Depth:
        """How many images may be at the server, as `lanes.depth`. A model of unknown speed gets few, one by one."""
        entry = triton_name(model.name, model.version)
        if entry not in self._seconds:
            return Depth(request=1, in_flight=batch)
        return depth(self._instances[entry], self._max_batch[entry], batch, self._seconds[entry])

    async def watch(self) -> None:
        """Looks twice a second, for ever, until cancelled. A server that is away tells nothing new."""
        async with triton.InferenceServerClient(self._server) as client:
            while True:
                for entry in list(self._used):
                    try:
                        await self._look(client, entry)
                    except InferenceServerException:
                        continue  # the detector's own watch says so
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, client: triton.InferenceServerClient, entry: str) -> None:
        if entry not in self._instances:
            answer = await client.get_model_config(entry, client_timeout=_ANSWER_SECONDS)
            self._instances[entry] = sum(group.count for group in answer.config.instance_group) or 1
            self._max_batch[entry] = answer.config.max_batch_size or 1
        answer = await client.get_inference_statistics(entry, client_timeout=_ANSWER_SECONDS)
        busy, images = 0, 0
        for model in answer.model_stats:
            for batch in model.batch_stats:
                busy += batch.compute_input.ns + batch.compute_infer.ns + batch.compute_output.ns
                images += batch.batch_size * batch.compute_infer.count
        before = self._told.get(entry, (0.0, 0))
        self._told[entry] = told = (busy / 1e9, images)
        if told < before:  # the server was started anew
            before = (0.0, 0)
        if images > before[1]:
            self._seconds[entry] = (told[0] - before[0]) / (images - before[1])
