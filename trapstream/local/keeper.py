"""Keeps Triton at what is deployed: the default versions, and the older ones that open jobs still need.

Part of the supervisor, so that no command has to wait for a job of days. It holds nothing of its own: it looks at
what is deployed, at what is loaded and at the jobs, and loads or unloads what differs. So it does not matter who died
when, and a job that was submitted with an old version a moment too late gets that version back.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from trapstream.core.errors import TrapstreamError
from trapstream.core.jobs import EndedJobs, JobTable
from trapstream.local import loading, repository
from trapstream.local.state import Stack
from trapstream.models import bundle_store, deployed
from trapstream.models.deployed import Deployed

_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 60.0
"""Between two attempts to load what did not load."""


class Keeper:
    """Looks after the models of one stack that is up."""

    def __init__(self, home: Path, stack: Stack, progress: Callable[[str], None]) -> None:
        self._home = home
        self._http = stack.endpoints["triton-http"]
        self._progress = progress
        self._jobs = JobTable(stack.endpoints["kafka"])
        self._ended = EndedJobs(stack.endpoints["kafka"])
        self._following = False
        self._said = ""
        self._failed: dict[str, float] = {}
        """When something did not load."""

    async def run(self) -> None:
        """Until cancelled. Whatever goes wrong is said, and tried again."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                try:
                    await self._look(tasks)
                    self._said = ""
                except (TrapstreamError, OSError) as error:
                    if str(error) != self._said:
                        self._progress(f"models: {error}")
                    self._said = str(error)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        if not deployed.deployed_file(self._home).exists():
            return
        with deployed.alone(self._home) as held:
            if held:  # else a deploy is under way
                await self._load_and_unload(deployed.read(self._home), tasks)

    async def _load_and_unload(self, known: Deployed, tasks: asyncio.TaskGroup) -> None:
        listed = {(name, version) for name, versions in known.models.items() for version in versions.versions}
        wanted = known.wanted(())
        if listed != wanted:
            in_use = self._in_use(tasks)
            if in_use is None:
                listed = wanted  # not known yet: nothing is unloaded, and nothing loaded that may not be needed
            else:
                wanted = known.wanted(in_use)
        for name, version in sorted(listed - wanted):
            await self._unload(f"{name}@{version}")
        for name, version in sorted(wanted & listed):
            await self._load(f"{name}@{version}", known)

    def _in_use(self, tasks: asyncio.TaskGroup) -> set[tuple[str, str]] | None:
        """(name, version) of the open jobs' models; None while that is not known yet."""
        if not self._following:
            self._following = True
            for table in (self._jobs, self._ended):
                tasks.create_task(table.run())
        if not (self._jobs.caught_up.is_set() and self._ended.caught_up.is_set()):
            return None
        specs = list(self._jobs.specs.values())
        gone = self._ended.jobs
        return {(spec.model.name, spec.model.version) for spec in specs if not spec.cancelled and spec.job not in gone}

    async def _unload(self, label: str) -> None:
        entry = repository.folder(self._home, label)
        if not entry.exists():
            return
        now = await loading.state(self._http, entry.name)
        if now in ("LOADING", "UNLOADING"):
            return  # a deploy was killed meanwhile
        if now == "READY":
            await loading.unload(self._http, entry.name)
        repository.remove(self._home, label)
        self._progress(f"{label} is unloaded: no open job uses it")

    async def _load(self, label: str, known: Deployed) -> None:
        entry = repository.folder(self._home, label)
        if await loading.is_ready(self._http, entry.name) is not False:
            self._failed.pop(label, None)
            return
        if await loading.state(self._http, entry.name) != "NONE":
            return
        if time.monotonic() - self._failed.get(label, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        name, _, version = label.partition("@")
        try:
            bundle = await asyncio.to_thread(bundle_store.find, self._home, label)
            await asyncio.to_thread(repository.render, self._home, bundle, known.how(name, version))
            await loading.load(self._http, entry.name)
        except TrapstreamError as error:
            self._failed[label] = time.monotonic()
            self._progress(f"{label} is not served: {error}")
        else:
            self._progress(f"{label} is loaded")
