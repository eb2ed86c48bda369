"""Which partitions this process folds, as the group says, and what their stores must learn and forget."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from aiokafka import TopicPartition

from aggregator.lease import STORE, Lease, Released
from trapstream.core import kafka, log, messages, retry, topics
from trapstream.core.errors import BadMessage, Fatal, Retryable
from trapstream.core.jobs import JobTable
from trapstream.core.messages import JobStatus
from trapstream.core.result_store import result_path
from trapstream.core.settings import AggregatorSettings
from trapstream.core.states import ENDED
from trapstream.results.fold_store import JobEnd, Store


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


def adopt(store: Store, partition: int, statuses: Mapping[bytes, bytes], results: Path) -> None:
    """Ends the jobs of `partition` in the store that have ended elsewhere. Retryable as the store.

    Their last status and their file say so, and nothing is folded again. A store that was lost, or that comes from a
    machine which did not fold lately, would otherwise report a completed job as running, and could not complete it at
    all once the log's retention is over.

    `statuses`: the newest of every job, as Kafka has it. `results`: the folder of the files.
    """
    ends: dict[str, JobEnd] = {}
    for value in statuses.values():
        try:
            status = messages.decode(value, JobStatus)
        except BadMessage as error:
            log.get_logger().error("bad status", error=str(error))
            continue
        end = store.job(status.job).end
        if status.state not in ENDED or kafka.job_partition(status.job) != partition or end.has_status:
            continue
        if not _is_there(status, results):
            # The log makes its file again. What the log has not any more is not done again: nobody asked for that.
            ends[status.job] = msgspec.structs.replace(end, file_lost=True)
        else:
            ends[status.job] = JobEnd(status=msgspec.Raw(value), announced=True, dropped=status.job not in store.jobs)
            log.get_logger().info("job adopted", job=status.job, state=status.state)
    if ends:
        store.set_ends(ends)


def _is_there(status: JobStatus, results: Path) -> bool:
    path = result_path(results, status.job).absolute()
    if status.location != str(path):
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == status.sha256
    except OSError:
        return False


async def forget_strangers(partitions: Partitions, table: JobTable, seconds: float) -> None:
    """Lets the stores forget jobs that were without a spec for `seconds`, until cancelled.

    A job's spec is in Kafka before its first reference is, so a job without one after a while will not get one, or its
    time was over. Stray results would stay on this disk for ever. Should the spec come after all, what the job then
    lacks is published again (`aggregator.repair`).
    """
    await table.caught_up.wait()
    since: dict[tuple[int, str], float] = {}
    while True:
        await asyncio.sleep(seconds / 4)
        now = time.monotonic()
        leases = list(partitions.leases.values())
        strange = {
            (lease.partition, job): lease
            for lease in leases
            for job in [*lease.progress, *lease.ended]
            if job not in table.specs and job not in lease.ending
        }
        since = {key: since.get(key, now) for key in strange}
        for (number, job), lease in strange.items():
            if now - since[number, job] >= seconds:
                try:
                    await _forget(lease, job)
                except Released:
                    continue
                except Retryable as error:
                    log.get_logger().warning("forgetting put off", job=job, error=str(error))


async def _forget(lease: Lease, job: str) -> None:
    # A few entries at a time between two folds. Killed in it: the rest goes later.
    while await lease.with_store(lambda store: job in store.jobs and store.drop_some(job)):
        pass
    await lease.with_store(lambda store: store.forget(job))
    lease.forget(job)
    log.get_logger().warning("job forgotten: it has no spec", job=job, partition=lease.partition)
