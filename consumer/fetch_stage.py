"""The fetch stage: a lane's references become bytes, or fail, or wait for what is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from consumer.addresses import host_of, scheme
from consumer.away import Transient
from consumer.fair_queue import FairQueue
from consumer.fetch import Fetcher
from consumer.waiting import ModelRoom, WaitingRoom
from consumer.work import Fetched, Task
from trapstream.core.channel import Channel
from trapstream.core.errors import Permanent
from trapstream.core.messages import Lane
from trapstream.core.meters import Meter
from trapstream.core.settings import ConsumerSettings


class FetchStage:
    """One lane's, with fetches of its own. Local files are read some together, all else is fetched one by one."""

    def __init__(
        self,
        lane: Lane,
        settings: ConsumerSettings,
        taken: Channel[Task],
        fetcher: Fetcher,
        hosts: WaitingRoom,
        models: ModelRoom,
        to_decode: FairQueue[Fetched],
        fail: Callable[[Task, Permanent], Awaitable[None]],
        meter: Meter,
    ) -> None:
        """`taken`: from the intake. `hosts` and `models`: where images wait for those that are away."""
        self._lane, self._settings, self._taken = lane, settings, taken
        self._fetcher = fetcher
        self._hosts, self._models = hosts, models
        self._to_decode, self._fail, self._meter = to_decode, fail, meter
        self.to_fetch: Channel[Task] = Channel(1)
        self.to_read: Channel[list[Task]] = Channel(1)
        """Local files, which are read some together."""

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            for _ in range(self._settings.fetches):
                tasks.create_task(self._fetch())
            for _ in range(max(1, self._settings.fetches // self._settings.batch)):
                tasks.create_task(self._read())

    async def _feed(self) -> None:
        """Takes in references while fewer than the most of the lane wait for what is away."""
        while True:
            for room in (self._hosts, self._models.room):
                if room.is_full(self._lane):
                    await room.departure()
                    break
            else:
                await self._distribute(await self._taken.receive_batch(self._settings.batch))

    async def _distribute(self, tasks: list[Task]) -> None:
        files: list[Task] = []
        others: list[Task] = []
        for task in tasks:
            (files if scheme(task.ref.uri) == "file" else others).append(task)
        if files:
            await self.to_read.send(files)
        for task in others:
            await self.to_fetch.send(task)

    async def _read(self) -> None:
        while True:
            tasks = [task for task in await self.to_read.receive() if self._begin(task)]
            self._meter.work.begin(len(tasks))
            try:
                read = await self._fetcher.fetch_files([task.ref.uri for task in tasks])
            finally:
                self._meter.work.end(len(tasks))
            fetched: list[Fetched] = []
            left: list[Task] = []
            for task, data in zip(tasks, read, strict=True):
                if data is None:
                    left.append(task)
                    continue
                task.times.end("fetch")
                self._meter.images += 1
                if isinstance(data, Permanent):
                    await self._fail(task, data)
                else:
                    fetched.append(Fetched(task, data))
            if fetched:
                await self._to_decode.send(self._lane, *fetched)
            for task in left:
                await self.to_fetch.send(task)

    async def _fetch(self) -> None:
        while True:
            task = await self.to_fetch.receive()
            if not self._begin(task):
                continue
            host = host_of(task.ref.uri)
            if host is not None and not self._fetcher.hosts.admit(host, time.monotonic()):
                self._hosts.hold(task)
                continue
            try:
                with self._meter.work:
                    data = await self._fetcher.fetch(task.ref.uri)
            except Transient as error:
                self._hosts.hold(task, error)
                continue
            except Permanent as error:
                await self._fail(task, error)
                continue
            finally:
                task.times.end("fetch")
                self._meter.images += 1
            await self._to_decode.send(self._lane, Fetched(task, data))

    def _begin(self, task: Task) -> bool:
        """Begins the task, unless its job was cancelled or its model is away. Whether it did."""
        if task.drop_if_cancelled():
            return False
        if self._models.is_away(task.spec.model):
            self._models.hold([task])
            return False
        task.times.end("wait")
        return True
