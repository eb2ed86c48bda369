"""How busy Triton is: the time that its instances ran, for all consumers; and how many images keep them at work."""

import asyncio
import time

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from consumer.lanes import Depth, depth
from trapstream.core.messages import ModelInfo
from trapstream.core.triton_names import entry_name
from trapstream.core.verdict import StageTotals

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_TOGETHER_SECONDS = 3.0
"""Models used within this of each other are at work together: one of an earlier job is idle."""


class ServerLoad:
    """What the instances of the models that this consumer uses did, as Triton was last asked."""

    def __init__(self, server: str, batch: int) -> None:
        """`batch`: how many images the consumer has together."""
        self._server = server
        self._batch = batch
        self._instances: dict[str, int] = {}
        self._max_batch: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        """That an instance took for an image, at the last look that saw any."""
        self._used: dict[str, float] = {}
        self._totals: dict[str, tuple[float, int]] = {}
        """Seconds and images since the server started, as of the last look."""

    def use(self, model: ModelInfo) -> None:
        """Says that the model is used now."""
        self._used[entry_name(model.name, model.version)] = time.monotonic()

    def totals(self) -> StageTotals:
        """Of all these models together, as of the last look."""
        since = max(self._used.values(), default=0.0) - _TOGETHER_SECONDS
        used = [count for name, count in self._instances.items() if self._used[name] >= since]
        return StageTotals(
            workers=max(1, sum(used)),
            busy=sum(busy for busy, _ in self._totals.values()),  # of idle ones too: a sum that only grows
            images=sum(images for _, images in self._totals.values()),
        )

    def depth(self, model: ModelInfo) -> Depth:
        """How many images may be at the server, as `lanes.depth`. A model of unknown speed gets few, one by one."""
        name = entry_name(model.name, model.version)
        if name not in self._seconds:
            return Depth(request=1, in_flight=self._batch)
        return depth(self._instances[name], self._max_batch[name], self._batch, self._seconds[name])

    async def watch(self) -> None:
        """Looks twice a second, for ever, until cancelled. A server that is away tells nothing new."""
        async with triton.InferenceServerClient(self._server) as client:
            while True:
                for name in list(self._used):
                    try:
                        await self._look(client, name)
                    except InferenceServerException:
                        continue  # the detector's own watch says so
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, client: triton.InferenceServerClient, name: str) -> None:
        if name not in self._instances:
            reply = await client.get_model_config(name, client_timeout=_ANSWER_SECONDS)
            self._instances[name] = sum(group.count for group in reply.config.instance_group) or 1
            self._max_batch[name] = reply.config.max_batch_size or 1
        reply = await client.get_inference_statistics(name, client_timeout=_ANSWER_SECONDS)
        busy, images = 0, 0
        for model in reply.model_stats:
            for batch in model.batch_stats:
                busy += batch.compute_input.ns + batch.compute_infer.ns + batch.compute_output.ns
                images += batch.batch_size * batch.compute_infer.count
        before = self._totals.get(name, (0.0, 0))
        self._totals[name] = now = (busy / 1e9, images)
        if now < before:  # the server was started anew
            before = (0.0, 0)
        if images > before[1]:
            self._seconds[name] = (now[0] - before[0]) / (images - before[1])
