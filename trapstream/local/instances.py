"""Sees to it that every instance of a served model lives: a model of which one died is loaded anew.

An instance on the CPU is a process of Triton's Python backend. One that dies, or that Triton ends because it did not
answer for a second, stays dead; Triton goes on to say that the model is ready, and answers each request that goes to
the dead one with an error.

One that dies while its model is being loaded makes Triton wait for it for ever, deaf to all model control. Then only a
new start of Triton helps.

A model that is loaded anew is served by the instances that are left until the new ones are ready. Of the old ones
Triton forgets those that lived beside a dead one, so they are ended here. It also keeps some 70 threads and 20 MB of
each such load; so after `MOST_LOADS` Triton itself is started again.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from trapstream.core.errors import Retryable, TrapstreamError
from trapstream.local import loading, triton
from trapstream.local.state import Progress, ServedModel
from trapstream.models import deployed

MOST_LOADS = 10
"""In the life of one Triton."""
_INSTANCE = re.compile(r"_\d+_\d+")
"""After the entry's name: what Triton calls an instance."""
_LOOK_SECONDS, _SURE_SECONDS = 1.5, 0.5
_FIRST_DELAY, _MOST_DELAY = 5.0, 30.0
_STEADY_SECONDS = 30.0
"""A model of which no instance died for so long after its last load is loaded at once when one dies."""
_STUCK_SECONDS = 10.0
"""After an instance died during a load, and if nothing is computed any more, that load does not come to an end."""


@dataclass
class Backoff:
    """When a model of which an instance died may be loaded anew. Times are given, in seconds."""

    loaded: float = float("-inf")
    """When it was last loaded anew."""
    delay: float = 0.0

    def wait(self, now: float) -> float:
        """How long to wait: not at all the first time, ever longer if instances die again soon after a load."""
        if now - self.loaded - self.delay > _STEADY_SECONDS:
            return 0.0
        return max(0.0, self.loaded + self.delay - now)

    def load(self, now: float) -> None:
        """Takes note of a load, or of an attempt."""
        again = now - self.loaded - self.delay <= _STEADY_SECONDS
        self.delay = min(max(_FIRST_DELAY, 2 * self.delay), _MOST_DELAY) if again else _FIRST_DELAY
        self.loaded = now


@dataclass
class InstanceWatch:
    """Looks after the instances of one Triton's models."""

    home: Path
    """In which the repository is."""
    http: str
    """host:port of Triton's HTTP."""
    server: Callable[[], psutil.Process | None]
    """Triton's process; None while it does not run."""
    note: Callable[[tuple[ServedModel, ...]], None]
    """Takes what is known of the models whenever that has changed."""
    progress: Progress
    _noted: tuple[ServedModel, ...] = ()
    _pid: int | None = None
    _loads: int = 0
    """Of this Triton."""
    _reloads: Counter[str] = field(default_factory=Counter)
    _backoffs: dict[str, Backoff] = field(default_factory=dict)
    _old: dict[int, float] = field(default_factory=dict)
    """The instances that are left of models that were loaded anew, and the processor time that each had used."""
    _said: str = ""

    async def run(self) -> None:
        """Until cancelled. Whatever goes wrong is said, and tried again."""
        while True:
            try:
                await self._look()
                self._said = ""
            except psutil.NoSuchProcess:
                pass  # Triton died, and starts again
            except (TrapstreamError, OSError, psutil.Error) as error:
                if str(error) != self._said:
                    self.progress(f"instances: {error}")
                self._said = str(error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        server = await asyncio.to_thread(self.server)
        if server is None:
            return
        if server.pid != self._pid:
            self._pid, self._loads, self._old = server.pid, 0, {}
            await self._unless_stuck(server, self._until_started(), ())
        await asyncio.to_thread(self._end_old)
        found = await self._count(server)
        if any(each.alive < each.instances for each in found):
            await asyncio.sleep(_SURE_SECONDS)  # it may be unloaded just now
            found = await self._count(server)
        self._tell(found)
        for each in found:
            if each.alive < each.instances and not self._backoff(each.model).wait(time.monotonic()):
                await self._load_anew(server, each)

    def _backoff(self, model: str) -> Backoff:
        return self._backoffs.setdefault(model, Backoff())

    async def _count(self, server: psutil.Process) -> tuple[ServedModel, ...]:
        """The models that have instances of their own processes, each with how many there should be, and live."""
        ready = await loading.ready_versions(self.http)
        wanted = {entry: await loading.instances(self.http, entry) for entry in ready}
        alive = Counter(
            entry for pid, entry, version in await asyncio.to_thread(living, server)
            if version in ready.get(entry, ()) and pid not in self._old
        )  # fmt: skip
        return tuple(
            ServedModel(
                model=entry, instances=count * len(ready[entry]), alive=min(alive[entry], count * len(ready[entry])),
                loaded_anew=self._reloads[entry],
            )
            for entry, count in sorted(wanted.items()) if count
        )  # fmt: skip

    def _tell(self, found: tuple[ServedModel, ...]) -> None:
        if found != self._noted:
            self._noted = found
            self.note(found)

    async def _load_anew(self, server: psutil.Process, sick: ServedModel) -> None:
        entry, began = sick.model, time.monotonic()
        with deployed.alone(self.home) as held:
            if not held:
                return  # a deploy is under way
            self.progress(f"{entry}: {sick.alive} of {sick.instances} instances live; it is loaded anew")
            if self._loads >= MOST_LOADS:
                self.progress("triton: ended, to free what its dead instances have left in it")
                server.kill()
                return
            there = await asyncio.to_thread(living, server)
            before = {pid for pid, name, _ in there if name == entry}
            old = {pid for pid, _, _ in there} | await asyncio.to_thread(_dead, server)
            self._backoff(entry).load(began)
            self._loads += 1
            await asyncio.to_thread(self._touch, entry)
            try:
                await self._unless_stuck(server, loading.load(self.http, entry), old)
            except loading.NotLoadedError as error:
                self.progress(f"{entry}: not loaded anew, tried again soon: {error}")
                return
        self._old |= dict.fromkeys(before, -1.0)
        self._reloads[entry] += 1
        self._backoff(entry).loaded = time.monotonic()
        self._tell(await self._count(server))
        self.progress(f"{entry}: loaded anew in {time.monotonic() - began:.1f} s")

    async def _until_started(self) -> None:
        """Until Triton answers: then it has tried to load what lies in its repository."""
        while True:
            try:
                await loading.ready_versions(self.http)
            except Retryable:
                await asyncio.sleep(_SURE_SECONDS)
            else:
                return

    async def _unless_stuck(
        self, server: psutil.Process, load: Coroutine[None, None, None], before: Iterable[int]
    ) -> None:
        """Waits for the load. Ends the server if an instance that is not one of `before` died and nothing goes on."""
        task = asyncio.create_task(load)
        last, since = None, time.monotonic()
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=_SURE_SECONDS)
                dead = await asyncio.to_thread(_dead, server) - set(before)
                new = {pid for pid, _, _ in await asyncio.to_thread(living, server)} - set(before)
                now = (dead, new, round(await asyncio.to_thread(_used, new), 1))
                if now != last:
                    last, since = now, time.monotonic()
                if not task.done() and dead and time.monotonic() - since > _STUCK_SECONDS:
                    server.kill()
                    raise Retryable("one died while it was being loaded, and Triton waits for it: Triton starts again")
            task.result()
        finally:
            task.cancel()

    def _touch(self, entry: str) -> None:
        """Makes the entry's files newer: else Triton sees no reason to load it."""
        for file in (self.home / triton.REPOSITORY / entry).glob("*/model.py"):
            file.touch()

    def _end_old(self) -> None:
        """Ends what is left of a model that was loaded anew, once it has computed nothing since the last look."""
        for pid, used in list(self._old.items()):
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                if process.ppid() != self._pid or process.status() == psutil.STATUS_ZOMBIE:
                    del self._old[pid]
                elif times.user + times.system == used:
                    process.kill()
                else:
                    self._old[pid] = times.user + times.system
            except psutil.NoSuchProcess:
                self._old.pop(pid, None)


def _used(pids: Iterable[int]) -> float:
    """The processor time, in seconds, that these processes have used together. Blocks."""
    used = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            used += times.user + times.system
    return used


def _dead(server: psutil.Process) -> set[int]:
    """The instances that died and that the server has not cleared away: it never does so for one that was killed."""
    found = set()
    for process in server.children():
        with contextlib.suppress(psutil.Error):
            if triton.STUB.startswith(process.name()) and process.status() == psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


def living(server: psutil.Process) -> list[tuple[int, str, str]]:
    """The process, entry and version of each instance that lives. Blocks."""
    found = []
    for process in server.children():
        try:
            if process.name() == triton.STUB:
                arguments = process.cmdline()
                entry, version, _ = Path(arguments[1]).parts[-3:]
                if _INSTANCE.fullmatch(arguments[-2].removeprefix(entry)):  # else it only reads the configuration
                    found.append((process.pid, entry, version))
        except (psutil.Error, IndexError, ValueError):
            continue  # it died, or is just about to be what it shall be
    return found
