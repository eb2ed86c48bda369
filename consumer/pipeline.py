"""The stages, wired: intake -> fetch -> decode -> detect -> emit. No rule stands here."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from consumer import boxes, shot
from consumer.decode import Decoder
from consumer.detect import Detections, Detector, ModelAwayError
from consumer.emit import emit
from consumer.fetch import Fetcher, Postponed
from consumer.hosts import Hosts, host_of
from consumer.intake import Intake
from consumer.lanes import Shares
from consumer.letterboxing import Laid, letterbox_batch
from consumer.missing import MissingModels
from consumer.served import Served
from consumer.slabs import Slab, SlabPool
from consumer.waiting_room import WaitingRoom
from consumer.work import Answer, Fetched, Group, Task
from trapstream.core import kafka, log, metrics, retry
from trapstream.core.channel import Channel
from trapstream.core.ended import EndedJobs
from trapstream.core.errors import Permanent, Retryable
from trapstream.core.failures import failure_entry
from trapstream.core.jobs import JobTable
from trapstream.core.messages import Lane, Outcome
from trapstream.core.meters import Meters
from trapstream.core.service import Health
from trapstream.core.settings import ConsumerSettings
from trapstream.core.verdict import StageTotals


class Pipeline:
    """One consumer's stages and the channels between them."""

    def __init__(self, settings: ConsumerSettings, producer: kafka.Outbox, jobs: JobTable, meters: Meters) -> None:
        self._settings = settings
        self._producer = producer
        self._jobs = jobs
        prefix = f"{settings.shm_prefix}-{settings.member}" if settings.shared_memory else None
        self.intakes = {lane: Intake(lane, settings, jobs, producer) for lane in Lane}
        self._shares = Shares(settings.live_share)
        self._arrived = asyncio.Event()
        for intake in self.intakes.values():
            intake.arrived = self._arrived
        self._to_fetch: Channel[Task] = Channel(1)
        self._to_decode: Channel[Fetched] = Channel(settings.batch)
        self._to_detect: Channel[Group] = Channel(settings.slabs)
        self._to_emit: Channel[Answer] = Channel(1024)
        self._slabs = SlabPool(settings.slabs, prefix)
        self._hosts = Hosts(settings.host_patience_seconds, settings.fetch_seconds)
        self._fetcher = Fetcher(settings, self._hosts)
        self._room = WaitingRoom(
            "host", "fetch host", self._hosts, key=lambda task: host_of(task.ref.uri) or "",
            again=self._to_fetch.send, fail=self._fail, unwanted=self._is_cancelled, changed=self._arrived.set,
        )  # fmt: skip
        self._detector = Detector(settings.triton, prefix)
        self._served = Served(settings.triton)
        self._meters = meters
        self._fetching = meters.stage("fetch", settings.fetches)
        self._decoding = meters.stage("decode", settings.decoders)
        self._laying = meters.stage("slabs", settings.slabs)
        self._emitting = meters.stage("emit")
        self._emitting.held = self._to_emit.full
        meters.add("detect", self._served.totals)
        meters.add("consumer", self._own_totals)
        meters.starved = self._to_fetch.empty.seconds
        self._missing = MissingModels(
            self._detector, EndedJobs(settings.kafka),
            again=self._to_fetch.send, fail=self._fail, cancelled=self._is_cancelled, changed=self._arrived.set,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Runs until `stop` is set and the work in flight is done, or its time is over."""
        health.details["waiting_for_model"] = self._missing.images
        async with contextlib.AsyncExitStack() as held:
            held.callback(self._slabs.close)  # the last of all, once nothing reads or writes them
            await held.enter_async_context(self._fetcher)
            await held.enter_async_context(self._detector)
            stages = await held.enter_async_context(asyncio.TaskGroup())
            running = [stages.create_task(self._merge()), stages.create_task(self._watch())]
            watches = (self._detector.watch(), self._producer.watch(), self._served.watch(), self._meters.watch())
            running += [stages.create_task(body) for body in (self._room.run(), self._missing.run(), *watches)]
            running += [stages.create_task(self._fetch()) for _ in range(self._settings.fetches)]
            running += [stages.create_task(self._decode()) for _ in range(self._settings.decoders)]
            running += [stages.create_task(self._detect()) for _ in range(2 * self._settings.slabs)]
            running.append(stages.create_task(emit(self._to_emit, self._producer, self._emitting)))
            try:
                async with asyncio.TaskGroup() as polling:
                    for intake in self.intakes.values():
                        await intake.start()
                        polling.create_task(intake.run(stop))
                    health.ready = True
                await asyncio.gather(*(intake.close() for intake in self.intakes.values()))
            finally:
                for task in running:
                    task.cancel()

    async def _merge(self) -> None:
        rooms = (self._room, self._missing.room)
        while True:
            self._arrived.clear()
            ready = [
                lane
                for lane, intake in self.intakes.items()
                if intake.channel.statistics().used and not any(room.is_full(lane) for room in rooms)
            ]
            if not ready:
                await self._arrived.wait()
                continue
            await self._to_fetch.send(await self.intakes[self._shares.choose(ready)].channel.receive())

    async def _fetch(self) -> None:
        while True:
            task = await self._to_fetch.receive()
            if not self._is_wanted(task):
                continue
            if self._missing.is_away(task.spec.model):
                self._missing.hold([task])
                continue
            host = host_of(task.ref.uri)
            if host is not None and not self._hosts.may_ask(host, time.monotonic()):
                self._room.hold(task)
                continue
            began = time.perf_counter()
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
                task.times.fetch = _milliseconds_since(began)
                self._fetching.images += 1
            await self._to_decode.send(Fetched(task, data))

    def _is_wanted(self, task: Task) -> bool:
        """False, and the task is done, where its job was cancelled since it was taken: nobody waits for its answer."""
        cancelled = self._is_cancelled(task)
        if cancelled:
            task.done()
        return not cancelled

    def _is_cancelled(self, task: Task) -> bool:
        return self._jobs.specs.get(task.ref.job, task.spec).cancelled

    async def _decode(self) -> None:
        settings = self._settings
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        try:
            decoder = await loop.run_in_executor(
                thread, Decoder, settings.batch, settings.decode_threads, settings.decode_device, settings.max_pixels
            )
            while True:
                received = await self._to_decode.receive_batch(settings.batch)
                batch = [fetched for fetched in received if self._is_wanted(fetched.task)]
                if not batch:
                    continue
                slab = await self._slabs.acquire()
                self._laying.work.begin()
                began = time.perf_counter()

                work = functools.partial(letterbox_batch, decoder, slab, batch)
                with self._decoding.work:
                    laid = await retry.until_back(functools.partial(_in_thread, thread, work), "shared memory")
                self._decoding.images += len(batch)
                self._laying.images += len(batch)
                for fetched in batch:
                    fetched.task.times.decode = _milliseconds_since(began)
                slab.users = len(laid.groups)
                if not laid.groups:
                    self._give_back(slab)
                for task, error in laid.failed:
                    await self._fail(task, error)
                for group in laid.groups:
                    await self._to_detect.send(group)
        finally:
            thread.shutdown(wait=False)

    async def _detect(self) -> None:
        while True:
            group = await self._to_detect.receive()
            began = time.perf_counter()
            metrics.BATCH_IMAGES.observe(len(group.tasks))
            self._served.note(group.tasks[0].spec.model)
            try:
                found = await self._detector.detect(group)
            except ModelAwayError as error:
                self._missing.hold(group.tasks, str(error))
                continue
            finally:
                self._let_go(group.slab)
            for task, letterbox, detections in zip(group.tasks, group.letterboxes, found, strict=True):
                task.times.detect = _milliseconds_since(began)
                try:
                    await self._to_emit.send(_answer(task, letterbox, detections))
                except Permanent as error:
                    await self._fail(task, error)

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

    async def _fail(self, task: Task, error: Permanent) -> None:
        log.get_logger().info("image failed", job=task.ref.job, file=task.ref.file, error=str(error))
        entry = failure_entry(task.ref.file, task.ref.meta, error.reason, error.detail)
        await self._to_emit.send(Answer(task, Outcome.FAILED, error.reason, entry))

    async def _watch(self) -> None:
        channels: dict[str, Channel[Any]] = {
            "live": self.intakes[Lane.LIVE].channel,
            "bulk": self.intakes[Lane.BULK].channel,
            "fetch": self._to_fetch,
            "decode": self._to_decode,
            "detect": self._to_detect,
            "emit": self._to_emit,
        }
        while True:
            await asyncio.sleep(self._settings.commit_seconds)
            for intake in self.intakes.values():
                await intake.commit()
            for name, channel in channels.items():
                now = channel.statistics()
                metrics.CHANNEL_USED.labels(name).set(now.used)
                metrics.CHANNEL_SENDERS.labels(name).set(now.senders_waiting)
                metrics.CHANNEL_RECEIVERS.labels(name).set(now.receivers_waiting)


def _answer(task: Task, letterbox: boxes.Letterbox, detections: Detections | Permanent) -> Answer:
    if isinstance(detections, Permanent):
        raise detections
    ref, spec = task.ref, task.spec
    if task.shots:
        [one] = task.shots
        facts, taken = shot.meta(ref, one), shot.taken(ref, one)
        outcome, entry = boxes.entry(ref.file, facts, letterbox, detections, spec.threshold, spec.model, taken)
    else:
        outcome, entry = boxes.entry(ref.file, ref.meta, letterbox, detections, spec.threshold, spec.model)
    return Answer(task, outcome, None, entry)


async def _in_thread(thread: ThreadPoolExecutor, work: Callable[[], Laid]) -> Laid:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except OSError as error:
        raise Retryable(f"{error}; a larger /dev/shm helps") from error


def _milliseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


async def run(settings: ConsumerSettings, stop: asyncio.Event, health: Health) -> None:
    """The consumer from start to stop."""
    await kafka.create_topics(settings.kafka)
    producer = kafka.Outbox(settings.kafka)
    await producer.start()
    jobs = JobTable(settings.kafka)
    try:
        async with asyncio.TaskGroup() as tables:
            following = tables.create_task(jobs.run())
            await jobs.caught_up.wait()
            await Pipeline(settings, producer, jobs, health.meters).run(stop, health)
            following.cancel()
    finally:
        await producer.stop()
