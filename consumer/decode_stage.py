"""The decode stage: fetched images become letterboxed pixels in a slab, in threads of its own, off the event loop."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from consumer.fair_queue import FairQueue
from consumer.server_load import ServerLoad
from consumer.slabs import Slab, SlabPool
from consumer.work import Fetched, Group, Task
from trapstream.core import retry
from trapstream.core.errors import Permanent, Retryable
from trapstream.core.messages import Lane
from trapstream.core.meters import Meter
from trapstream.core.settings import ConsumerSettings
from trapstream.core.triton_names import BULK_NICE
from trapstream.images.decode import Decoded, Decoder, Encoded
from trapstream.images.shot import read_shot

Letterboxed = tuple[list[Group], list[tuple[Task, Permanent]]]
"""A batch in a slab: a group for each model and shape; and the images that could not be decoded."""


@dataclass(eq=False, kw_only=True)
class DecodeStage:
    """Both lanes', whose turns come by the shares; each has decoders of its own."""

    settings: ConsumerSettings
    to_decode: FairQueue[Fetched]
    slabs: SlabPool
    server_load: ServerLoad
    to_detect: FairQueue[Group]
    fail: Callable[[Task, Permanent], Awaitable[None]]
    meter: Meter

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in Lane:
                for _ in range(self.settings.decoders):
                    tasks.create_task(self._decode(lane))

    async def _decode(self, lane: Lane) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        try:
            decoder = await asyncio.get_running_loop().run_in_executor(thread, _decoder, self.settings, lane)
            while True:
                _, received = await self.to_decode.take(
                    self.settings.batch, counts=self.slabs.has, fits=lambda chosen, _: chosen is lane
                )
                batch = [fetched for fetched in received if not fetched.task.drop_if_cancelled()]
                if not batch:
                    continue
                slab = self.slabs.take(lane)
                for fetched in batch:
                    fetched.task.times.end("queue")
                with self.meter.work:
                    work = partial(_in_thread, thread, partial(letterbox_batch, decoder, slab, batch))
                    whole, failed = await retry.until_back(work, "shared memory")
                self.meter.images += len(batch)
                self.slabs.meter.images += len(batch)
                for fetched in batch:
                    fetched.task.times.end("decode")
                groups = [part for group in whole for part in group.parts(self.server_load.depth(group.model).request)]
                self.slabs.share(slab, len(groups))
                for task, error in failed:
                    await self.fail(task, error)
                for group in groups:
                    await self.to_detect.send(lane, group)
        finally:
            thread.shutdown(wait=False)


def letterbox_batch(decoder: Decoder, slab: Slab, batch: Sequence[Fetched]) -> Letterboxed:
    """Decodes `batch` into `slab`. OSError if the slab cannot hold it."""
    wanted = [_encoded(fetched) for fetched in batch]
    failed: list[tuple[Task, Permanent]] = []
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[Task, Decoded]]] = defaultdict(list)
    for fetched, decoded in zip(batch, decoder.decode(wanted), strict=True):
        if isinstance(decoded, Permanent):
            failed.append((fetched.task, decoded))
        else:
            alike[fetched.task.spec.model.label, decoded.pixels.shape].append((fetched.task, decoded))
            if fetched.task.spec.series is not None:
                fetched.task.shot = read_shot(fetched.data)
    slab.hold(sum(decoded.pixels.nbytes for members in alike.values() for _, decoded in members))
    groups, offset = [], 0
    for (_, shape), members in alike.items():
        target = slab.pixels(offset, (len(members), *shape))
        for row, (_, decoded) in zip(target, members, strict=True):
            row[:] = decoded.pixels
        height, width, channels = shape
        groups.append(
            Group(
                slab=slab,
                offset=offset,
                shape=(height, width, channels),
                tasks=tuple(task for task, _ in members),
                letterboxes=tuple(decoded.letterbox for _, decoded in members),
            )
        )
        offset += target.nbytes
    return groups, failed


def _encoded(fetched: Fetched) -> Encoded:
    model = fetched.task.spec.model
    return Encoded(fetched.data, model.image_size, model.stride, model.fixed, model.stretch)


def _decoder(settings: ConsumerSettings, lane: Lane) -> Decoder:
    """The decoder of a lane; what decodes bulk images gives way to the rest.

    DALI's own threads do, which take over the priority of whoever makes them. The thread that asks them does not: it
    holds Python's lock at times, for which the event loop waits.
    """
    make = partial(Decoder, settings.batch, settings.decode_threads, settings.decode_device, settings.max_pixels)
    if lane is Lane.LIVE:
        return make()
    with ThreadPoolExecutor(1, initializer=partial(os.nice, BULK_NICE)) as low:
        return low.submit(make).result()


async def _in_thread(thread: ThreadPoolExecutor, work: Callable[[], Letterboxed]) -> Letterboxed:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except OSError as error:
        raise Retryable(f"{error}; a larger /dev/shm helps") from error
