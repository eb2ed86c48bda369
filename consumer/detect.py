"""The detector: Triton over gRPC, with pixels in shared memory: a model that can is told where they lie and reads them
there; for others the server, which maps the region too, makes them a tensor.

A sick server is not a bad image. Whatever goes wrong is told apart by asking: an error that a blank image of the same
shape meets too is the model's, one that it does not meet is the image's own. Where each instance of a model is a
process of its own, a blank image that goes to another instance proves nothing: such a model answers for itself what is
the image's own (triton_errors.py), and after any other error the images are sent again. A server that is well and does
not serve the model says so in words of its own. A model that is not served or not well is waited for elsewhere, so that
other jobs go on.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from consumer.slabs import Slab
from consumer.triton_errors import Meaning, meaning
from consumer.work import Group
from trapstream.core import log, metrics, retry
from trapstream.core.errors import Permanent, Reason, Retryable
from trapstream.core.messages import Lane, ModelInfo
from trapstream.core.triton_names import TRITON_VERSION, lane_version, triton_name
from trapstream.images.letterbox import PAD_GREY

INPUT = "images"
OUTPUTS = ("detections", "count")
PLACES = "places"
"""An input of models that read pixels where they lie: "region offset height width" for each image."""
_ANSWER_SECONDS = 600.0
"""A request unanswered for so long is sent again: the server lost it. A large model on few cores takes minutes."""
_LIVE_SECONDS = 5.0
_LOOK_SECONDS = 3.0
_PRIORITY = {Lane.LIVE: 1, Lane.BULK: 0}
"""Triton's: 1 goes first, 0 is the entry's own choice, the last. For entries in which both lanes share the instances.
Strict, but shares say how many of each get there."""
_REFUSALS = 2
"""A healthy server that refuses an image so many times means it."""
_FAULTS = 4
"""After so many faults in a row a request's images wait elsewhere: the instances that are left may all be dead."""


class _Abilities(NamedTuple):
    """Of a model, as Triton serves it."""

    reads_places: bool
    versions: frozenset[str]
    platform: str


Detections = NDArray[np.float32]
"""[k, 6]: x_min, y_min, x_max, y_max in pixels of the letterboxed image, confidence, class index."""


class ModelAwayError(Exception):
    """The server is there, and the model is not: never loaded, loading just now, unloaded, or not well."""

    def __init__(self, text: str, blank: tuple[int, int, int] | None = None) -> None:
        """`blank`: height, width, 3 of a blank image that a loaded model answers with an error."""
        super().__init__(text)
        self.blank = blank


class RefusedError(Exception):
    """The server answered, with an error."""


class FaultError(Retryable):
    """The model failed, and not for an image: an instance died, say. Another one may answer."""


class Detector:
    """Asks Triton. One for each process; an async context manager."""

    def __init__(self, server: str, region_prefix: str | None) -> None:
        """`server` is host:port. `region_prefix` begins this process's region names; None sends pixels by gRPC."""
        self._server = server
        self._prefix = region_prefix
        self._regions: dict[str, int] = {}
        self._abilities: dict[str, _Abilities] = {}

    async def __aenter__(self) -> "Detector":
        self._client = triton.InferenceServerClient(self._server)
        if self._prefix is not None:
            await retry.until_back(self._forget_old_regions, "triton")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for name in list(self._regions):
                await self._unregister(name)
        except Retryable as problem:
            log.get_logger().info("regions left to the server", error=str(problem))
        await self._client.close()

    async def detect(self, group: Group) -> list[Detections | Permanent]:
        """The detections of each image of `group`, in order. Waits for a server that is away.

        ModelAwayError where the model is not served or not well: nothing is known of any image then.
        """
        try:
            return list(await self._ask(group, 0, len(group.tasks)))
        except RefusedError as error:
            log.get_logger().warning("batch refused, trying one by one", images=len(group.tasks), error=str(error))
            return [await self._ask_alone(group, number) for number in range(len(group.tasks))]

    async def _ask_alone(self, group: Group, number: int) -> Detections | Permanent:
        ref, refusals, model = group.tasks[number].ref, 0, group.model
        while True:
            try:
                return (await self._ask(group, number, 1))[0]
            except RefusedError as error:
                refusal = str(error)
            try:
                await self._probe(model, group.shape)
            except Retryable:
                # The server is away just now. Once it is back the image comes again.
                await retry.until_back(lambda: self._probe(model, group.shape), "triton")
                refusals = 0
            else:
                refusals += 1
            if refusals == _REFUSALS:
                log.get_logger().warning("image refused", job=ref.job, file=ref.file, error=refusal)
                return Permanent(Reason.MODEL_REFUSED)

    async def serves(self, model: ModelInfo, shape: tuple[int, int, int] | None = None) -> bool:
        """Whether the server has the model ready, and, with a `shape`, whether it answers for a blank image of that.

        Retryable where the server is away.
        """
        name = triton_name(model.name, model.version)
        try:
            ready = bool(await self._client.is_model_ready(name, TRITON_VERSION, client_timeout=_LIVE_SECONDS))
        except InferenceServerException as error:
            if isinstance(self._understand(error), ModelAwayError):
                return False
            raise Retryable(str(error)) from error
        if ready and shape is not None:
            try:
                await self._probe(model, shape)
            except ModelAwayError:
                return False
        return ready

    async def watch(self) -> None:
        """Says by log and metric that the server is away, also while no request is: for ever, until cancelled."""

        async def ask() -> None:
            with _retryable():
                live = await self._client.is_server_live(client_timeout=_LIVE_SECONDS)
            if not live:
                raise Retryable(f"{self._server} says that it is not live")

        while True:
            await retry.until_back(ask, "triton")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _probe(self, model: ModelInfo, shape: tuple[int, int, int]) -> None:
        """Returns where the model answers for a blank image. ModelAwayError where it answers with an error."""
        blank = np.full((1, *shape), PAD_GREY, np.uint8)
        try:
            await self._infer(model, _plain_input(blank), 1, Lane.BULK)
        except RefusedError as error:
            raise ModelAwayError(f"the model answers with errors: {error}", shape) from error

    async def _ask(self, group: Group, first: int, count: int) -> list[Detections]:
        shape = (count, *group.shape)
        offset = group.offset + first * group.image_bytes
        size = count * group.image_bytes
        model, lane = group.model, group.tasks[0].lane
        faults = 0

        async def call() -> list[Detections]:
            nonlocal faults
            try:
                return await send()
            except FaultError as error:
                metrics.MODEL_FAULTS.labels(model.label).inc()
                faults += 1
                if faults == _FAULTS:
                    raise ModelAwayError(f"the model answers with errors: {error}", group.shape) from error
                raise

        async def send() -> list[Detections]:
            if group.slab.name is None:
                return await self._infer(model, _plain_input(group.slab.pixels(offset, shape)), count, lane)
            if (await self._ask_abilities(model)).reads_places:
                return await self._infer(model, _places(group, first, count), count, lane)
            await self._register(group.slab)
            pixels = triton.InferInput(INPUT, list(shape), "UINT8")
            pixels.set_shared_memory(group.slab.name, size, offset)
            return await self._infer(model, pixels, count, lane)

        return await retry.until_back(call, "triton")

    async def _infer(self, model: ModelInfo, pixels: triton.InferInput, count: int, lane: Lane) -> list[Detections]:
        abilities = await self._ask_abilities(model)
        try:
            reply = await self._client.infer(
                triton_name(model.name, model.version),
                [pixels],
                model_version=lane_version(lane, abilities.versions),
                outputs=[triton.InferRequestedOutput(name) for name in OUTPUTS],
                priority=_PRIORITY[lane],
                client_timeout=_ANSWER_SECONDS,
            )
        except InferenceServerException as error:
            raise self._understand(error, abilities.platform) from error
        detections, counts = reply.as_numpy("detections"), reply.as_numpy("count").reshape(-1)
        if len(detections) != count or not np.isfinite(detections).all():
            raise RefusedError("the model's answer has another length, or numbers that are not finite")
        return [rows[:kept] for rows, kept in zip(detections, counts, strict=True)]

    async def _ask_abilities(self, model: ModelInfo) -> _Abilities:
        name = triton_name(model.name, model.version)
        if name not in self._abilities:
            try:
                metadata = await self._client.get_model_metadata(name, client_timeout=_LIVE_SECONDS)
            except InferenceServerException as error:
                found = self._understand(error)
                raise (found if isinstance(found, ModelAwayError) else Retryable(str(error))) from error
            inputs = {tensor.name for tensor in metadata.inputs}
            self._abilities[name] = _Abilities(PLACES in inputs, frozenset(metadata.versions), metadata.platform)
        return self._abilities[name]

    def _understand(self, error: InferenceServerException, platform: str = "") -> Exception:
        """What to raise for it. What was known of the server, and is not so any more, is forgotten."""
        text, found = str(error), meaning(str(error), error.status(), platform)
        if found in {Meaning.REGION_UNKNOWN, Meaning.REGION_KNOWN}:
            self._regions.clear()
            return Retryable(text)
        if found is Meaning.OTHER_INPUT and any(one.reads_places for one in self._abilities.values()):
            self._abilities.clear()
            return Retryable(text)
        if found is Meaning.NOT_SERVED:
            self._abilities.clear()
            return ModelAwayError(text)
        if found is Meaning.FAULT:
            return FaultError(text)
        return Retryable(text) if found is Meaning.AWAY else RefusedError(text)

    async def _register(self, slab: Slab) -> None:
        assert slab.name is not None
        if self._regions.get(slab.name) == slab.size:
            return
        stem = slab.name.rpartition("-")[0]
        for old in [name for name in self._regions if name.rpartition("-")[0] == stem]:
            await self._unregister(old)
        try:
            await self._client.register_system_shared_memory(slab.name, f"/{slab.name}", slab.size)
        except InferenceServerException as error:
            if meaning(str(error), error.status()) is not Meaning.REGION_KNOWN:
                raise Retryable(str(error)) from error
        self._regions[slab.name] = slab.size

    async def _unregister(self, name: str) -> None:
        self._regions.pop(name, None)
        with _retryable():
            await self._client.unregister_system_shared_memory(name)

    async def _forget_old_regions(self) -> None:
        """The server keeps the mapping of a killed process's regions until it is told."""
        with _retryable():
            known = await self._client.get_system_shared_memory_status()
        for name in known.regions:
            if name.startswith(f"{self._prefix}-"):
                await self._unregister(name)


@contextlib.contextmanager
def _retryable() -> Iterator[None]:
    """For what is asked again, whatever the server answers."""
    try:
        yield
    except InferenceServerException as error:
        raise Retryable(str(error)) from error


def _places(group: Group, first: int, count: int) -> triton.InferInput:
    height, width, _ = group.shape
    begin, size = group.offset + first * group.image_bytes, group.image_bytes
    rows = [f"{group.slab.name} {begin + number * size} {height} {width}".encode() for number in range(count)]
    given = triton.InferInput(PLACES, [count, 1], "BYTES")
    given.set_data_from_numpy(np.array(rows, dtype=np.object_).reshape(count, 1))
    return given


def _plain_input(pixels: NDArray[np.uint8]) -> triton.InferInput:
    given = triton.InferInput(INPUT, list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels)
    return given
