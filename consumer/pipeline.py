"""The stages, wired: intake -> fetch -> decode -> detect -> emit. No rule stands here."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from consumer.answering import answered, failed
from consumer.detect import Detector, ModelAwayError
from consumer.emit import emit
from consumer.fetch import Fetcher, Postponed, is_file
from consumer.hosts import Hosts, host_of
from consumer.junction import Junction
from consumer.lanes import Depth, Shares
from consumer.letterboxing import Laid, letterbox_batch
from consumer.line import Line
from consumer.missing import MissingModels
from consumer.served import Served
from consumer.slabs import Slab, SlabPool
from consumer.waiting_room import WaitingRoom
from consumer.work import Fetched, Group, Task
from trapstream.core import log, metrics, retry
from trapstream.core.channel import Channel
from trapstream.core.ended import EndedJobs
from trapstream.core.errors import Permanent, Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.messages import Lane
from trapstream.core.meters import Joint, Meters
from trapstream.core.outbox import Outbox
from trapstream.core.service import Health
from trapstream.core.settings import ConsumerSettings
from trapstream.core.triton_names import BULK_NICE
from trapstream.core.verdict import StageTotals
from trapstream.images.decode import Decoder


class Pipeline:
    """One consumer's stages and the channels between them."""

    def __init__(self, settings: ConsumerSettings, producer: Outbox, jobs: JobTable, meters: Meters) -> None:
        self._settings = settings
        self._producer = producer
        self._jobs = jobs
        prefix = f"{settings.shm_prefix}-{settings.member}" if settings.shared_memory else None
        self._lines = {lane: Line(lane, settings, jobs, producer) for lane in Lane}
        self._roomy = asyncio.Event()
        shares = partial(Shares, settings.live_share, memory=settings.batch)
        self._to_decode: Junction[Fetched] = Junction(shares(), settings.batch, lambda _: 1)
        self._to_detect: Junction[Group] = Junction(shares(), settings.slabs, lambda group: len(group.tasks))
        self._slabs = SlabPool(settings.slabs, prefix)
        self._hosts = Hosts(settings.host_patience_seconds, settings.fetch_seconds)
        self._fetcher = Fetcher(settings, self._hosts)
        self._room = WaitingRoom(
            "host", "fetch host", self._hosts, key=lambda task: host_of(task.ref.uri) or "",
            again=self._again, fail=self._fail, unwanted=self._is_cancelled, changed=self._roomy.set,
        )  # fmt: skip
        self._detector = Detector(settings.triton, prefix)
        self._served = Served(settings.triton)
        self._meters = meters
        self._fetching = meters.stage("fetch", settings.fetches)
        self._decoding = meters.stage("decode", settings.decoders)
        self._laying = meters.stage("slabs", settings.slabs)
        self._emitting = meters.stage("emit")
        for line in self._lines.values():
            line.to_emit.full = self._emitting.held
        meters.add("detect", self._served.totals)
        meters.add("consumer", self._own_totals)
        starved = Joint(2 * len(Lane))
        for line in self._lines.values():
            line.to_fetch.empty, line.to_read.empty = starved.part(), starved.part()
        meters.starved = starved.seconds
        self._missing = MissingModels(
            self._detector, EndedJobs(settings.kafka),
            again=self._again, fail=self._fail, cancelled=self._is_cancelled, changed=self._roomy.set,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Runs until `stop` is set and the work in flight is done, or its time is over."""
        health.details |= {"waiting_for_model": self._missing.images, "model_errors": self._missing.errors}
        intakes = [line.intake for line in self._lines.values()]
        async with contextlib.AsyncExitStack() as held:
            held.callback(self._slabs.close)  # the last of all, once nothing reads or writes them
            await held.enter_async_context(self._fetcher)
            await held.enter_async_context(self._detector)
            stages = await held.enter_async_context(asyncio.TaskGroup())
            bodies = [self._watch(), self._room.run(), self._missing.run(), self._dispatch()]
            bodies += [each.watch() for each in (self._detector, self._producer, self._served, self._meters)]
            for line in self._lines.values():
                bodies += [self._decode(line.intake.lane) for _ in range(self._settings.decoders)]
                bodies += [self._feed(line), emit(line.to_emit, self._producer, self._emitting)]
                bodies += [self._fetch(line) for _ in range(self._settings.fetches)]
                bodies += [self._read(line) for _ in range(max(1, self._settings.fetches // self._settings.batch))]
            running = [stages.create_task(body) for body in bodies]
            try:
                async with asyncio.TaskGroup() as polling:
                    for intake in intakes:
                        await intake.start()
                        polling.create_task(intake.run(stop))
                    health.ready = True
                await asyncio.gather(*(intake.close() for intake in intakes))
            finally:
                for task in running:
                    task.cancel()

    async def _feed(self, line: Line) -> None:
        rooms = (self._room, self._missing.room)
        while True:
            self._roomy.clear()
            if any(room.is_full(line.intake.lane) for room in rooms):
                await self._roomy.wait()
                continue
            files: list[Task] = []
            others: list[Task] = []
            for task in await line.intake.channel.receive_batch(self._settings.batch):
                (files if is_file(task.ref.uri) else others).append(task)
            if files:
                await line.to_read.send(files)
            for task in others:
                await line.to_fetch.send(task)

    async def _again(self, task: Task) -> None:
        await self._lines[task.lane].to_fetch.send(task)

    async def _read(self, line: Line) -> None:
        while True:
            tasks = [task for task in await line.to_read.receive() if self._may_begin(task)]
            self._fetching.work.begin(len(tasks))
            try:
                read = await self._fetcher.fetch_files([task.ref.uri for task in tasks])
            finally:
                self._fetching.work.end(len(tasks))
            fetched: list[Fetched] = []
            left: list[Task] = []
            for task, data in zip(tasks, read, strict=True):
                if data is None:
                    left.append(task)
                    continue
                task.times.end("fetch")
                self._fetching.images += 1
                if isinstance(data, Permanent):
                    await self._fail(task, data)
                else:
                    fetched.append(Fetched(task, data))
            if fetched:
                await self._to_decode.send(line.intake.lane, *fetched)
            for task in left:
                await line.to_fetch.send(task)

    async def _fetch(self, line: Line) -> None:
        while True:
            task = await line.to_fetch.receive()
            host = host_of(task.ref.uri)
            if not self._may_begin(task):
                continue
            if host is not None and not self._hosts.may_ask(host, time.monotonic()):
                self._room.hold(task)
                continue
            try:
                with self._fetching.work:
                    data = await self._fetcher.fetch(task.ref.uri)
            except Postponed as error:
                self._room.hold(task, error.failure)
                continue
            except Permanent as error:
                await self._fail(task, error)
                continue
            finally:
                task.times.end("fetch")
                self._fetching.images += 1
            await self._to_decode.send(line.intake.lane, Fetched(task, data))

    def _may_begin(self, task: Task) -> bool:
        """False, and the task is done or waits elsewhere, where its answer is not wanted or its model is away."""
        if not self._is_wanted(task):
            return False
        if self._missing.is_away(task.spec.model):
            self._missing.hold([task])
            return False
        task.times.end("wait")
        return True

    def _is_wanted(self, task: Task) -> bool:
        """False, and the task is done, where its job was cancelled since it was taken: nobody waits for its answer."""
        cancelled = self._is_cancelled(task)
        if cancelled:
            task.done()
        return not cancelled

    def _is_cancelled(self, task: Task) -> bool:
        return self._jobs.specs.get(task.ref.job, task.spec).cancelled

    async def _decode(self, lane: Lane) -> None:
        settings = self._settings
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        try:
            decoder = await loop.run_in_executor(thread, _decoder, settings, lane)
            while True:
                _, received = await self._to_decode.take(
                    settings.batch, counts=self._slabs.has, fits=lambda chosen, _: chosen is lane
                )
                batch = [fetched for fetched in received if self._is_wanted(fetched.task)]
                if not batch:
                    continue
                slab = self._slabs.take(lane)
                self._laying.work.begin()
                for fetched in batch:
                    fetched.task.times.end("queue")
                work = partial(letterbox_batch, decoder, slab, batch)
                with self._decoding.work:
                    laid = await retry.until_back(partial(_in_thread, thread, work), "shared memory")
                self._decoding.images += len(batch)
                self._laying.images += len(batch)
                for fetched in batch:
                    fetched.task.times.end("decode")
                groups = [part for group in laid.groups for part in group.parts(self._depth(group).request)]
                slab.users = len(groups)
                if not groups:
                    self._give_back(slab)
                for task, error in laid.failed:
                    await self._fail(task, error)
                for group in groups:
                    await self._to_detect.send(lane, group)
        finally:
            thread.shutdown(wait=False)

    async def _dispatch(self) -> None:
        """Sends what is decoded to the detector, as long as it fits there."""
        async with asyncio.TaskGroup() as asked:
            while True:
                lane, [group] = await self._to_detect.take(1, counts=lambda _: True, fits=self._fits)
                self._lines[lane].at_detector[group.model] += len(group.tasks)
                asked.create_task(self._detect(self._lines[lane], group))

    def _depth(self, group: Group) -> Depth:
        return self._served.depth(group.tasks[0].spec.model, self._settings.batch)

    def _fits(self, lane: Lane, group: Group) -> bool:
        """Each lane by itself: a live image does not wait until there are fewer of the others."""
        there = self._lines[lane].at_detector[group.model]
        return there == 0 or there + len(group.tasks) <= self._depth(group).in_flight

    async def _detect(self, line: Line, group: Group) -> None:
        metrics.BATCH_IMAGES.observe(len(group.tasks))
        self._served.note(group.tasks[0].spec.model)
        for task in group.tasks:
            task.times.end("queue")
        try:
            found = await self._detector.detect(group)
        except ModelAwayError as error:
            self._missing.hold(group.tasks, error)
            return
        finally:
            line.at_detector[group.model] -= len(group.tasks)
            self._to_detect.changed()
            self._let_go(group.slab)
        for task, letterbox, detections in zip(group.tasks, group.letterboxes, found, strict=True):
            task.times.end("detect")
            try:
                answer = answered(task, letterbox, detections)
            except Permanent as error:
                await self._fail(task, error)
            else:
                await line.to_emit.send(answer)

    def _own_totals(self) -> StageTotals:
        """The event loop, which this is called on: all that is done between the stages."""
        return StageTotals(workers=1, busy=time.thread_time(), images=self._emitting.images)

    def _let_go(self, slab: Slab) -> None:
        slab.users -= 1
        if slab.users == 0:
            self._give_back(slab)

    def _give_back(self, slab: Slab) -> None:
        self._laying.work.end()
        self._slabs.release(slab)
        self._to_decode.changed()

    async def _fail(self, task: Task, error: Permanent) -> None:
        log.get_logger().info("image failed", job=task.ref.job, file=task.ref.file, error=str(error))
        await self._lines[task.lane].to_emit.send(failed(task, error))

    async def _watch(self) -> None:
        channels: dict[tuple[str, Lane], Channel[Any]] = {}
        for lane, line in self._lines.items():
            channels["intake", lane], channels["fetch", lane] = line.intake.channel, line.to_fetch
            channels["read", lane] = line.to_read
            channels["decode", lane], channels["detect", lane] = (
                self._to_decode.channels[lane],
                self._to_detect.channels[lane],
            )
            channels["emit", lane] = line.to_emit
        while True:
            await asyncio.sleep(self._settings.commit_seconds)
            for line in self._lines.values():
                await line.intake.commit()
            for labels, channel in channels.items():
                now = channel.statistics()
                metrics.CHANNEL_USED.labels(*labels).set(now.used)
                metrics.CHANNEL_SENDERS.labels(*labels).set(now.senders_waiting)
                metrics.CHANNEL_RECEIVERS.labels(*labels).set(now.receivers_waiting)


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


async def _in_thread(thread: ThreadPoolExecutor, work: Callable[[], Laid]) -> Laid:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except OSError as error:
        raise Retryable(f"{error}; a larger /dev/shm helps") from error
