"""The fetch stage: a lane's references become bytes, or fail, or wait for what is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from consumer.away import Transient
from consumer.fair_queue import FairQueue
from consumer.fetch import Fetcher
from consumer.uris import host_of, scheme
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
    """All but the local files that are read together."""

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.settings.fetches):
                tasks.create_task(self._fetch())
            for _ in range(max(1, self.settings.fetches // self.settings.batch)):
                tasks.create_task(self._take_in())

    async def _take_in(self) -> None:
        """Takes in references, while few enough of the lane wait for what is away; reads the local files of them."""
        rooms = (self.hosts, self.models.room)
        while True:
            while full := [room for room in rooms if room.is_full(self.lane)]:
                await full[0].departure()
            files: list[Task] = []
            for task in await self.taken.receive_batch(self.settings.batch):
                if scheme(task.ref.uri) != "file":
                    await self.to_fetch.send(task)
                elif self._begin(task):
                    files.append(task)
            if files:
                await self._read(files)

    async def _read(self, tasks: list[Task]) -> None:
        self.meter.work.begin(len(tasks))
        try:
            read = await self.fetcher.fetch_files([task.ref.uri for task in tasks])
        finally:
            self.meter.work.end(len(tasks))
        fetched: list[Fetched] = []
        for task, data in zip(tasks, read, strict=True):
            if data is None:
                continue
            task.times.end("fetch")
            self.meter.images += 1
            if isinstance(data, Permanent):
                await self.fail(task, data)
            else:
                fetched.append(Fetched(task, data))
        if fetched:
            await self.to_decode.send(self.lane, *fetched)
        for task, data in zip(tasks, read, strict=True):
            if data is None:  # too slow for one thread to read them all
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
                self.hosts.hold(task, error.final())
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
