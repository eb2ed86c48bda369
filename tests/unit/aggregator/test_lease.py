"""What is said of a disk that refuses: by each wait for itself, and only while it lasts."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest

from aggregator.lease import STORE, Lease, Released, wait_for_disk
from aggregator.partitions import Partitions
from tests.waiting import eventually
from trapstream.core.errors import Retryable
from trapstream.results.fold_store import Store


def waiting() -> float | None:
    """The metric."""
    return prometheus_client.REGISTRY.get_sample_value("trapstream_waiting", {"on": STORE})


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Disk:
    """One that refuses until it is mended; the wait ends in Released where the partition is taken away."""

    def __init__(self) -> None:
        self.refuses = True
        self.released = False

    async def __call__(self) -> str:
        if self.released:
            raise Released
        if self.refuses:
            raise Retryable("the disk is full")
        return "written"


async def test_no_wait_takes_the_message_of_another(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    """Two partitions wait; one is taken away, then the other's disk is back: message and metric last until then."""
    settings: Any = SimpleNamespace(stores=tmp_path)
    leases = [Lease(number, tmp_path / str(number), Store(tmp_path / str(number)), thread) for number in range(3)]
    disks = [Disk(), Disk()]
    async with asyncio.TaskGroup() as tasks:
        held = Partitions(settings, thread, tasks)
        held.leases = dict(enumerate(leases))
        leases[2].progress_of("job").changed = False

        def wait(number: int) -> asyncio.Task[str]:
            return asyncio.ensure_future(
                wait_for_disk(STORE, disks[number], lambda message: held.set_waits(leases[number], message))
            )

        async def both() -> bool:
            return all(lease.waits for lease in leases[:2])

        first, second = wait(0), wait(1)
        await eventually("both waits", both, pause=0.01)
        assert held.waits == f"waiting for the {STORE}: the disk is full"
        assert waiting() == 1.0
        assert leases[2].progress_of("job").changed, "one disk holds all partitions up, so each job says so"
        disks[0].released = True
        with pytest.raises(Released):
            await first
        assert (held.waits, waiting()) == (f"waiting for the {STORE}: the disk is full", 1.0)
        disks[1].refuses = False
        assert await second == "written"
        found: list[object] = [held.waits, waiting()]
        assert found == [None, 0.0]
    for lease in leases:
        await lease.close()
