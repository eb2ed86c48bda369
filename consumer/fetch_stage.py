"""The fetch stage: a lane's references become bytes, or fail, or wait for what is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

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


@dataclass(eq=False, kw_only=True)
class FetchStage:
    """One lane's, with fetches of its own. Local files are read some together, all else is fetched one by one."""

    lane: Lane
    settings: ConsumerSettings
    taken: Channel[Task]
    """From the intake."""
    fetcher: Fetcher
    hosts: WaitingRoom
    """Where images wait for a host that is away."""
    models: ModelRoom
    to_decode: FairQueue[Fetched]
    fail: Callable[[Task, Permanent], Awaitable[None]]
    meter: Meter
    to_fetch: Channel[Task] = field(default_factory=lambda: Channel(1))
    to_read: Channel[list[Task]] = field(default_factory=lambda: Channel(1))
    """Local files, which are read some together."""

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            for _ in range(self.settings.fetches):
                tasks.create_task(self._fetch())
            for _ in range(max(1, self.settings.fetches // self.settings.batch)):
                tasks.create_task(self._read())

    async def _feed(self) -> None:
        """Takes in references while fewer than the most of the lane wait for what is away."""
        while True:
            for room in (self.hosts, self.models.room):
                if room.is_full(self.lane):
                    await room.departure()
                    break
            else:
                await self._distribute(await self.taken.receive_batch(self.settings.batch))

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
            self.meter.work.begin(len(tasks))
            try:
                read = await self.fetcher.fetch_files([task.ref.uri for task in tasks])
            finally:
                self.meter.work.end(len(tasks))
            fetched: list[Fetched] = []
            left: list[Task] = []
            for task, data in zip(tasks, read, strict=True):
                if data is None:
                    left.append(task)
                    continue
                task.times.end("fetch")
                self.meter.images += 1
                if isinstance(data, Permanent):
                    await self.fail(task, data)
                else:
                    fetched.append(Fetched(task, data))
            if fetched:
                await self.to_decode.send(self.lane, *fetched)
            for task in left:
                await self.to_fetch.send(task)

    async def _fetch(self) -> None:
        while True:
            task = await self.to_fetch.receive()
            if not self._begin(task):
                continue
            host = host_of(task.ref.uri)
            if host is not None and not self.fetcher.hosts.admit(host, time.monotonic()):
                self.hosts.hold(task)
                continue
            try:
                with self.meter.work:
                    data = await self.fetcher.fetch(task.ref.uri)
            except Transient as error:
                self.hosts.hold(task, error)
                continue
            except Permanent as error:
                await self.fail(task, error)
                continue
            finally:
                task.times.end("fetch")
                self.meter.images += 1
            await self.to_decode.send(self.lane, Fetched(task, data))

    def _begin(self, task: Task) -> bool:
        """Begins the task, unless its job was cancelled or its model is away. Whether it did."""
        if task.drop_if_cancelled():
            return False
        if self.models.is_away(task.spec.model):
            self.models.hold([task])
            return False
        task.times.end("wait")
        return True
