"""Which partitions this process folds: taken and given up as the group says."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from aggregator.adopt import adopt
from aggregator.lease import Lease, Released
from aggregator.patience import STORE, patiently
from trapstream.core import kafka, log, retry, topics
from trapstream.core.errors import Fatal, Retryable
from trapstream.core.settings import AggregatorSettings
from trapstream.results.fold_store import Store


class Partitions(ConsumerRebalanceListener):  # type: ignore[misc]
    """The leases of this process. A partition is paused from its assignment until its store is open and sought."""

    def __init__(self, settings: AggregatorSettings, thread: ThreadPoolExecutor, tasks: asyncio.TaskGroup) -> None:
        self.leases: dict[int, Lease] = {}
        self.joined = asyncio.Event()
        """Set once the group has answered for the first time."""
        self.taken: asyncio.Queue[Lease] = asyncio.Queue()
        """Leases that begin."""
        self.consumer: kafka.Consumer = None  # type: ignore[assignment]  # until it is started
        self._settings = settings
        self._thread = thread
        self._tasks = tasks
        self._round = 0
        self._taking: set[asyncio.Task[None]] = set()
        self._statuses: asyncio.Task[dict[bytes, bytes]] | None = None

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """The group gives these; opening their stores may take longer than this call should."""
        self._round += 1
        self._statuses = None
        self.consumer.pause(*assigned)
        for part in assigned:
            task = self._tasks.create_task(self._take(part, self._round))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        self.joined.set()

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
        lease = await self._open(part, this_round)
        if lease is None:
            return
        ours = False
        try:
            begin, end = await bounds(self.consumer, part)
            lease.place = place_in_log(lease.store_offset, begin, end, str(lease.folder), part.partition)
            if lease.store_offset != end:
                await self._adopt(lease)
            lease.store_offset = lease.place
            ours = this_round == self._round
        finally:
            if not ours:
                await lease.close()
        if not ours:
            return
        self.consumer.seek(part, lease.place)
        self.leases[part.partition] = lease
        self.consumer.resume(part)
        self.taken.put_nowait(lease)
        log.get_logger().info("partition taken", partition=part.partition, offset=lease.place)

    async def _open(self, part: TopicPartition, this_round: int) -> Lease | None:
        folder = self._settings.stores / str(part.partition)
        loop = asyncio.get_running_loop()
        for delay in retry.delays(first=0.2):
            if this_round != self._round:
                return None
            try:
                store = await loop.run_in_executor(self._thread, Store, folder)
            except Retryable as error:
                log.get_logger().warning("waiting", on="aggregator store", error=str(error))
                await asyncio.sleep(delay)
            else:
                return Lease(part.partition, folder, store, self._thread)
        raise AssertionError("delays never end")

    async def _adopt(self, lease: Lease) -> None:
        """Lets the store know of jobs that ended without it. The statuses are read once for all partitions."""
        if self._statuses is None:
            self._statuses = self._tasks.create_task(kafka.read_table(self._settings.kafka, topics.STATUS))
        statuses = await self._statuses
        results = self._settings.results

        def mark(store: Store) -> None:
            adopt(store, lease.partition, statuses, results)
            lease.look(store)

        with contextlib.suppress(Released):
            await patiently(lease, STORE, lambda: lease.with_store(mark), lease.tell_all)


async def bounds(consumer: kafka.Consumer, part: TopicPartition) -> tuple[int, int]:
    """The first offset of a partition and the one after its last; waits for a broker that is away."""

    async def ask() -> tuple[int, int]:
        try:
            begin = await consumer.beginning_offsets([part])
            end = await consumer.end_offsets([part])
        except KafkaError as error:
            raise Retryable(repr(error)) from error
        return begin[part], end[part]

    return await retry.until_back(ask, "kafka")


def place_in_log(stored: int | None, begin: int, end: int, folder: str, partition: int) -> int:
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
