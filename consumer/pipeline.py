"""The stages, wired: intake -> fetch -> decode -> detect -> emit. No rule stands here."""

import asyncio
import contextlib
import time
from functools import partial

from consumer.decode_stage import DecodeStage
from consumer.detect import Detector
from consumer.detect_stage import DetectStage
from consumer.emit import emit, failed
from consumer.fair_queue import FairQueue
from consumer.fetch import Fetcher
from consumer.fetch_stage import FetchStage
from consumer.intake import Intake
from consumer.lanes import Shares
from consumer.server_load import ServerLoad
from consumer.slabs import SlabPool
from consumer.uris import host_of
from consumer.waiting import ModelRoom, WaitingRoom
from consumer.work import Answer, Fetched, Group, Task
from trapstream.core import metrics
from trapstream.core.channel import Channel
from trapstream.core.errors import Permanent
from trapstream.core.jobs import EndedJobs, JobTable
from trapstream.core.messages import Lane
from trapstream.core.meters import Joint, Meters
from trapstream.core.outbox import Outbox
from trapstream.core.service import Health
from trapstream.core.settings import ConsumerSettings
from trapstream.core.verdict import StageTotals


class Pipeline:
    """One consumer's stages and the channels between them."""

    def __init__(self, settings: ConsumerSettings, producer: Outbox, jobs: JobTable, meters: Meters) -> None:
        self._settings = settings
        self._producer = producer
        self._meters = meters
        prefix = f"{settings.shm_prefix}-{settings.member}" if settings.shared_memory else None
        shares = partial(Shares, settings.live_share, memory=settings.batch)
        self._to_decode: FairQueue[Fetched] = FairQueue(shares(), settings.batch, lambda _: 1)
        self._to_detect: FairQueue[Group] = FairQueue(shares(), settings.slabs, lambda group: len(group.tasks))
        self._to_emit: dict[Lane, Channel[Answer]] = {lane: Channel(1024) for lane in Lane}
        self._slabs = SlabPool(settings.slabs, prefix, self._to_decode.changed)
        self._fetcher = Fetcher(settings)
        self._detector = Detector(settings.triton, prefix)
        self._server_load = ServerLoad(settings.triton, settings.batch)
        self._hosts = WaitingRoom(
            kind="host", what="fetch host", known=self._fetcher.hosts, key=lambda task: host_of(task.ref.uri) or "",
            again=self._again, fail=self._fail,
        )  # fmt: skip
        self._models = ModelRoom(self._detector, EndedJobs(settings.kafka), again=self._again, fail=self._fail)
        fetching, decoding = meters.stage("fetch", settings.fetches), meters.stage("decode", settings.decoders)
        meters.add("slabs", self._slabs.meter.totals)
        self._emitting = meters.stage("emit")
        meters.add("detect", self._server_load.totals)
        meters.add("consumer", self._own_totals)
        self._intakes = {lane: Intake(lane, settings, jobs, producer) for lane in Lane}
        self._fetches = {
            lane: FetchStage(
                lane=lane, settings=settings, taken=intake.channel, fetcher=self._fetcher, hosts=self._hosts,
                models=self._models, to_decode=self._to_decode, fail=self._fail, meter=fetching,
            )
            for lane, intake in self._intakes.items()
        }  # fmt: skip
        self._decode = DecodeStage(
            settings=settings, to_decode=self._to_decode, slabs=self._slabs, server_load=self._server_load,
            to_detect=self._to_detect, fail=self._fail, meter=decoding,
        )  # fmt: skip
        self._detect = DetectStage(
            to_detect=self._to_detect, detector=self._detector, server_load=self._server_load, slabs=self._slabs,
            models=self._models, to_emit=self._to_emit,
        )  # fmt: skip
        starved = Joint(2 * len(Lane))
        for lane, stage in self._fetches.items():
            stage.to_fetch.empty, stage.taken.empty = starved.part(), starved.part()
            self._to_emit[lane].full = self._emitting.held
        meters.starved = starved.seconds

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Runs until `stop` is set and the work in flight is done, or its time is over."""
        health.details |= {"waiting_for_model": self._models.images, "model_errors": self._models.errors}
        intakes = self._intakes.values()
        async with contextlib.AsyncExitStack() as held:
            held.callback(self._slabs.close)  # the last of all, once nothing reads or writes them
            await held.enter_async_context(self._fetcher)
            await held.enter_async_context(self._detector)
            stages = await held.enter_async_context(asyncio.TaskGroup())
            bodies = [self._watch(), self._hosts.run(), self._models.run(), self._decode.run(), self._detect.run()]
            bodies += [stage.run() for stage in self._fetches.values()]
            bodies += [emit(answers, self._producer, self._emitting) for answers in self._to_emit.values()]
            bodies += [each.watch() for each in (self._detector, self._producer, self._server_load, self._meters)]
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

    async def _again(self, task: Task) -> None:
        await self._fetches[task.lane].to_fetch.send(task)

    async def _fail(self, task: Task, error: Permanent) -> None:
        await self._to_emit[task.lane].send(failed(task, error))

    def _own_totals(self) -> StageTotals:
        """The event loop, which this is called on: all that is done between the stages."""
        return StageTotals(workers=1, busy=time.thread_time(), images=self._emitting.images)

    async def _watch(self) -> None:
        channels = {
            (name, lane): channel
            for lane in Lane
            for name, channel in (
                ("intake", self._intakes[lane].channel),
                ("fetch", self._fetches[lane].to_fetch),
                ("decode", self._to_decode.channels[lane]),
                ("detect", self._to_detect.channels[lane]),
                ("emit", self._to_emit[lane]),
            )
        }
        while True:
            await asyncio.sleep(self._settings.commit_seconds)
            for intake in self._intakes.values():
                await intake.commit()
            for labels, channel in channels.items():
                now = channel.statistics()
                metrics.CHANNEL_USED.labels(*labels).set(now.used)
                metrics.CHANNEL_SENDERS.labels(*labels).set(now.senders_waiting)
                metrics.CHANNEL_RECEIVERS.labels(*labels).set(now.receivers_waiting)
