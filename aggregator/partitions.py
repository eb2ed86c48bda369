"""Which partitions this process folds: taken and given up as the group says."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiokafka import TopicPartition

from aggregator.adopt import adopt
from aggregator.lease import STORE, Lease, Released
from trapstream.core import kafka, log, retry, topics
from trapstream.core.errors import Fatal
from trapstream.core.settings import AggregatorSettings
from trapstream.results.fold_store import Store


class Partitions(kafka.Listener):
    """The leases of this process. A partition is paused from its assignment until its store is open and sought."""

    def __init__(self, settings: AggregatorSettings, thread: ThreadPoolExecutor, tasks: asyncio.TaskGroup) -> None:
        self.leases: dict[int, Lease] = {}
        self.joined = False
        """The group has answered."""
        self.on_taken: Callable[[Lease], None] = lambda _: None
        """Called with each lease that begins."""
        self._settings = settings
        self._thread = thread
        self._tasks = tasks
        self._round = 0
        self._taking: set[asyncio.Task[None]] = set()
        self._statuses: asyncio.Task[dict[bytes, bytes]] | None = None

    @property
    def waits(self) -> str | None:
        """What a store is waited for: one disk holds all partitions up, so the status of every job says so."""
        return next((lease.waits for lease in self.leases.values() if lease.waits), None)

    def set_waits(self, lease: Lease, message: str | None) -> None:
        """Says what the store of `lease` is waited for; None once it is not."""
        before, lease.waits = self.waits, message
        if self.waits != before:
            for progress in [each for held in self.leases.values() for each in held.progress.values()]:
                progress.changed = True

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """The group gives these; opening their stores may take longer than this call should."""
        self._round += 1
        self._statuses = None
        self.consumer.pause(*assigned)
        for part in assigned:
            task = self._tasks.create_task(self._take(part, self._round))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        self.joined = True

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - all are revoked
        """The group takes all back: what is in hand is finished or dropped, under one deadline."""
        await self.release()

    async def release(self) -> None:
        """Gives up every partition. Late threads end without effect: their lease is marked."""
        self._round += 1
        leases, self.leases = list(self.leases.values()), {}
        for lease in leases:
            lease.released.set()
        ending = [task for lease in leases for task in lease.ending.values()]
        waiting = [asyncio.ensure_future(lease.close()) for lease in leases] + ending + list(self._taking)
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self._settings.drain_seconds)
            if late:
                log.get_logger().warning("partitions given up before their work had ended", tasks=len(late))
            for task in late.intersection(ending):  # it would act for a partition that is no longer ours
                task.cancel()

    async def _take(self, part: TopicPartition, this_round: int) -> None:
        with contextlib.suppress(Released):
            lease = await self._open(part, this_round)
            try:
                begin, end = await bounds(self.consumer, part)
                lease.read_offset = first_offset(lease.store_offset, begin, end, str(lease.folder), part.partition)
                if lease.store_offset != end:
                    await self._adopt(lease)
                lease.store_offset = lease.read_offset
                if this_round != self._round:
                    raise Released
            except BaseException:
                await lease.close()
                raise
            self.consumer.seek(part, lease.read_offset)
            self.leases[part.partition] = lease
            self.consumer.resume(part)
            self.on_taken(lease)
            log.get_logger().info("partition taken", partition=part.partition, offset=lease.read_offset)

    async def _open(self, part: TopicPartition, this_round: int) -> Lease:
        folder = self._settings.stores / str(part.partition)

        async def open_store() -> Store:
            if this_round != self._round:
                raise Released
            return await asyncio.get_running_loop().run_in_executor(self._thread, Store, folder)

        return Lease(part.partition, folder, await retry.until_back(open_store, STORE), self._thread)

    async def _adopt(self, lease: Lease) -> None:
        """Lets the store know of jobs that ended without it. The statuses are read once for all partitions."""
        if self._statuses is None:
            self._statuses = self._tasks.create_task(kafka.read_table(self._settings.kafka, topics.STATUS))
        statuses = await self._statuses
        results = self._settings.results

        def take_over(store: Store) -> None:
            adopt(store, lease.partition, statuses, results)
            lease.load_jobs(store)

        await retry.until_back(lambda: lease.with_store(take_over), STORE)


async def bounds(consumer: kafka.Consumer, part: TopicPartition) -> tuple[int, int]:
    """The first offset of a partition and the one after its last; waits for a broker that is away."""

    async def ask() -> tuple[int, int]:
        with kafka.retryable("offsets"):
            return (await consumer.beginning_offsets([part]))[part], (await consumer.end_offsets([part]))[part]

    return await retry.until_back(ask, "kafka")


def first_offset(stored: int | None, begin: int, end: int, folder: str, partition: int) -> int:
    """The offset to fold from. Fatal if the store has folded records that the log does not have."""
    where = f"partition {partition} of {topics.DETECTIONS.name}"
    if stored is not None and stored > end:
        raise Fatal(
            f"{folder} has folded {where} up to offset {stored}, but the log ends at {end}: Kafka has lost data. "
            "Move that folder away, and the aggregator makes it again from what the log still has"
        )
    if begin > (stored or 0):
        log.get_logger().error("the log begins after what was folded", where=where, folded=stored or 0, begins=begin)
    return max(stored or 0, begin)
