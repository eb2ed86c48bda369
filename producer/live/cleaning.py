"""Removes uploaded images that no job needs any more, if a setting says so, and measures the disk space they take."""

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from producer.live import retention
from producer.live.incoming import InHand
from producer.live.retention import JobNow
from producer.live.series_journal import SeriesJournal
from trapstream.core import faults, log, metrics, retry, topics
from trapstream.core.errors import Retryable
from trapstream.core.jobs import EndedJobs, JobTable
from trapstream.core.result_store import incoming_folder
from trapstream.core.settings import ProducerSettings

_EVERY = 3600.0
_MOST = 100_000
"""Images that are looked up in the manifests together."""
_TOGETHER = 200
"""Images that are removed before a stop of the process is heard again."""
_MANIFEST = ".manifest.jsonl"


class Cleaner:
    """Looks through the area once an hour. One a result store: it goes with the uploads."""

    def __init__(self, settings: ProducerSettings, journal: SeriesJournal, in_hand: InHand, table: JobTable) -> None:
        self._settings, self._journal, self._in_hand, self._table = settings, journal, in_hand, table
        self.ended = EndedJobs(settings.kafka)

    async def run(self) -> None:
        """Until cancelled. A disk that refuses is waited for."""
        async with asyncio.TaskGroup() as tasks:
            if self._settings.upload_keep_days is not None:
                tasks.create_task(self.ended.run())
                await self._table.caught_up.wait()
                await self.ended.caught_up.wait()
            while True:
                await retry.until_back(self._patiently, "result store")
                await asyncio.sleep(_EVERY)

    async def _patiently(self) -> None:
        try:
            await self.round()
        except OSError as error:
            raise Retryable(f"{error.filename or 'the incoming area'}: {error.strerror}") from error

    async def round(self) -> None:
        """Looks once, and removes the images that may go. OSError."""
        days, began = self._settings.upload_keep_days, time.time()
        before = began - days * retention.DAY_SECONDS if days is not None else 0.0
        self._in_hand.begin()
        try:
            await self._journal.flush()  # images that were released before are written, and stand in a manifest
            held = self._journal.ids()
            images = size = removed = 0
            old: dict[str, Path] = {}
            for folder in await asyncio.to_thread(_sorted, incoming_folder(self._settings.results), "??"):
                some, bytes_, found = await asyncio.to_thread(_look, folder, before)
                images, size = images + some, size + bytes_
                old |= found
                if len(old) >= _MOST:
                    removed += await self._remove(old, held, before)
                    old = {}
            removed += await self._remove(old, held, before)
        finally:
            self._in_hand.end()
        metrics.INCOMING_BYTES.set(size)
        if removed:
            log.get_logger().info("uploaded images removed", images=removed, of=images, days=days)

    async def _remove(self, old: dict[str, Path], held: frozenset[str], before: float) -> int:
        """Removes those that no job needs; how many. In steps that a kill may part anywhere. OSError."""
        if not old:
            return 0
        forgotten = time.time() - topics.JOBS.retention_ms / 1000
        for path in await asyncio.to_thread(_sorted, self._settings.results, f"*{_MANIFEST}"):
            if retention.needs(await asyncio.to_thread(self._job, path, held), before, forgotten):
                for name in await asyncio.to_thread(_named, path, old.keys().__contains__):
                    old.pop(name, None)
        names, removed = list(old), 0
        for start in range(0, len(names), _TOGETHER):
            some = {name: old[name] for name in names[start : start + _TOGETHER]}
            removed += await asyncio.to_thread(self._unlink, some)
        return removed

    def _unlink(self, images: dict[str, Path]) -> int:
        removed = 0
        for name, path in images.items():
            # 1. One image that nobody needs. Killed after it: the others go at another look; nothing is written down.
            removed += self._in_hand.remove(name, partial(path.unlink, missing_ok=True))
            faults.reach("clean.1")
        metrics.INCOMING_REMOVED.inc(removed)
        return removed

    def _job(self, manifest: Path, held: frozenset[str]) -> JobNow:
        job = manifest.name.removesuffix(_MANIFEST)
        status = self.ended.jobs.get(job)
        try:
            written = manifest.stat().st_mtime
        except FileNotFoundError:
            written = 0.0  # its owner removed it in this moment
        return JobNow(job in held, job in self._table.specs, None if status is None else status.updated, written)


def _sorted(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _look(folder: Path, before: float) -> tuple[int, int, dict[str, Path]]:
    """Images of a folder, their bytes on the disk, and name to file of those that were written before `before`."""
    images = size = 0
    old: dict[str, Path] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            images, size = images + 1, size + status.st_blocks * 512
            if status.st_mtime < before and (name := retention.name_of(entry.name)) is not None:
                old[name] = Path(entry.path)
    return images, size, old


def _named(manifest: Path, wanted: Callable[[str], bool]) -> set[str]:
    found: set[str] = set()
    try:
        with manifest.open("rb") as lines:
            for line in lines:
                found.update(name for name in retention.named(line) if wanted(name))
    except FileNotFoundError:
        pass  # its owner removed it in this moment
    return found
