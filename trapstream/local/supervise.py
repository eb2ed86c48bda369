"""The supervisor: starts the children in order, brings back what dies, stops the stages in the reverse order.

`trapstream up` runs it in the foreground, `up -d` as a process of its own: `python -m trapstream.local`.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

from trapstream.core import retry
from trapstream.local import claim, ports, processes, state
from trapstream.local.child import Child, until_gone, why_it_died
from trapstream.local.home import STACK_VARIABLE, log_file, shm_prefix
from trapstream.local.plan import Recipe, endpoints
from trapstream.local.state import Process, ProcessState, Progress, ServedModel, Stack, StackError

Note = Callable[[tuple[ServedModel, ...]], None]
"""Writes what is known of the models into stack.json."""
Beside = Callable[[Stack, Note], Coroutine[None, None, None]]
"""Goes on while the stack is up."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MOST_SECONDS = 5.0
"""The longest wait before a start. While Kafka waits nothing works, and one start in five seconds costs little."""
_STEADY_SECONDS = 10.0
"""A child that was up this long starts again at once when it dies; one that died sooner waits ever longer."""

_TRIM_SECONDS = 30.0
_HOME_SECONDS = 1.0


async def supervise(
    home: Path,
    port_names: tuple[str, ...],
    recipe: Recipe,
    progress: Progress,
    on_up: Callable[[Stack], None] | None = None,
    beside: Beside | None = None,
) -> None:
    """Runs the stack of this home until a signal; calls `on_up` once everything is ready, and runs `beside` from then.

    Raises AlreadyRunning, and StackError where it cannot start.
    """
    with claim.claimed(home) as me:
        before = state.read(home)
        await asyncio.to_thread(clean, home, progress)
        chosen = ports.choose(port_names, before.ports if before else {})
        stack = Stack(
            home=str(home),
            state="starting",
            supervisor=replace(me, state="up"),
            endpoints=endpoints(chosen),
            ports=chosen,
            shm_prefix=shm_prefix(home),
        )
        await _Supervisor(home, stack, progress, on_up, beside).run(recipe)


def clean(home: Path, progress: Progress) -> None:
    """Ends what a killed supervisor left behind: its processes, then its shared memory. Blocks."""
    prefix = shm_prefix(home)
    if count := processes.end(processes.leftovers(prefix)):
        progress(f"ended {count} process{'es' * (count > 1)} that an earlier run had left behind")
    processes.sweep(prefix)


class _Supervisor:
    """The state of one run: the children, their processes, and the signals that came."""

    def __init__(
        self,
        home: Path,
        stack: Stack,
        progress: Progress,
        on_up: Callable[[Stack], None] | None,
        beside: Beside | None,
    ) -> None:
        self._home, self._stack, self._progress, self._on_up = home, stack, progress, on_up
        self._beside = beside
        self._lock = claim.identity(home)
        self._stop, self._force = asyncio.Event(), asyncio.Event()
        self._running: dict[str, tuple[Child, asyncio.subprocess.Process]] = {}

    async def run(self, recipe: Recipe) -> None:
        """From the first child to the last one's end."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        self._save()
        error: str | None = None
        try:
            await self._until_stopped(recipe)
        except* StackError as group:
            error = str(_first(group))
        finally:
            self._save(state="stopping")
            await self._stop_all()
            if claim.identity(self._home) in {self._lock, None}:  # else another's children have the same prefix by now
                # What slipped through: a grandchild in a session of its own, a child started in the very last moment.
                await asyncio.to_thread(clean, self._home, self._progress)
            self._save(state="failed" if error else "down", error=error)
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        if error:
            raise StackError(error)
        self._progress("the stack is down")

    async def _until_stopped(self, recipe: Recipe) -> None:
        stop = asyncio.create_task(self._stop.wait())
        work = asyncio.create_task(self._work(recipe))
        try:
            await asyncio.wait((stop, work), return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                self._progress("stopping")
        finally:
            stop.cancel()
            work.cancel()
            await asyncio.wait((stop, work))
        if not work.cancelled():
            work.result()

    async def _work(self, recipe: Recipe) -> None:
        began = time.monotonic()
        children = await recipe(self._home, self._stack.ports, self._progress)
        self._save(processes=tuple(Process(name=child.name) for child in children))
        async with asyncio.TaskGroup() as keepers:
            keepers.create_task(self._trim_logs())
            keepers.create_task(self._watch_home())
            for _, stage in itertools.groupby(children, key=lambda child: child.stage):
                together = list(stage)
                started = await self._start_together(together)
                for child, process in zip(together, started, strict=True):
                    keepers.create_task(self._restart_forever(child, process), name=child.name)
            self._save(state="up")
            self._progress(f"the stack is up after {time.monotonic() - began:.1f} s")
            if self._on_up is not None:
                self._on_up(self._stack)
            if self._beside is not None:
                keepers.create_task(self._run_beside(self._beside))

    async def _run_beside(self, beside: Beside) -> None:
        """What goes on beside the children must not take them down."""
        while True:
            try:
                await beside(self._stack, self._note_models)
            except Exception as error:
                first = _first(error)
                self._progress(f"unexpected {type(first).__name__}, goes on in {_MOST_SECONDS:.0f} s: {first}")
            await asyncio.sleep(_MOST_SECONDS)

    def _note_models(self, models: tuple[ServedModel, ...]) -> None:
        self._save(models=models)

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.to_thread(processes.trim_logs, log_file(self._home, "x").parent)
            await asyncio.sleep(_TRIM_SECONDS)

    async def _watch_home(self) -> None:
        while True:
            self._require_home()
            await asyncio.sleep(_HOME_SECONDS)

    def _require_home(self) -> None:
        """Without their home children die again and again, and a start would make half of it anew."""
        if claim.identity(self._home) != self._lock:
            raise StackError(f"the state folder {self._home} was deleted or moved away: the stack goes down")

    async def _start_together(self, children: list[Child]) -> list[asyncio.subprocess.Process]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._first_start(child)) for child in children]
        return [task.result() for task in tasks]

    async def _first_start(self, child: Child) -> asyncio.subprocess.Process:
        self._progress(f"{child.name}: starting")
        began = time.monotonic()
        process = await self._spawn(child)
        await self._until_ready(child, process)
        self._progress(f"{child.name}: up in {time.monotonic() - began:.1f} s")
        return process

    async def _restart_forever(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Brings the child back for as long as the stack runs."""
        delays, ready_at = _delays(), time.monotonic()
        while True:
            ended, why = await until_gone(child, process)
            if time.monotonic() - ready_at > _STEADY_SECONDS:
                delays = _delays()
            delay = next(delays)
            before = self._stack.process(child.name)
            self._process(replace(before, state="restarting", restarts=before.restarts + 1, last_exit=why))
            self._progress(f"{child.name}: {ended} ({why}), starts again in {delay:.1f} s")
            await self._remove_what_is_left(child, process)
            await asyncio.sleep(delay)
            began = time.monotonic()
            process = await self._spawn(child)
            try:
                await self._until_ready(child, process)
            except StackError as error:
                self._progress(f"{child.name}: {error}")
                processes.signal_group(process.pid, signal.SIGKILL)
            else:
                self._progress(f"{child.name}: back in {time.monotonic() - began:.1f} s")
            ready_at = time.monotonic()

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        self._require_home()
        log = processes.open_log(log_file(self._home, child.name))
        try:
            # A group, which is signalled as a whole, and no session: Linux shares the cores out between sessions first
            # (autogroups), so that between two of them no niceness counts, and bulk work would give way to nobody.
            process = await asyncio.create_subprocess_exec(
                *child.argv,
                env={**processes.environment(os.environ), **child.env, STACK_VARIABLE: self._stack.shm_prefix},
                cwd=child.cwd or self._home, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                process_group=0, preexec_fn=processes.dies_with_parent(),
            )  # fmt: skip
        except OSError as error:
            raise StackError(f"{child.name} cannot be started: {error}") from error
        finally:
            os.close(log)
        self._running[child.name] = (child, process)
        before = self._stack.process(child.name)
        known = processes.identify(process.pid, child.name)
        self._process(replace(known, restarts=before.restarts, last_exit=before.last_exit))
        return process

    async def _until_ready(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Raises StackError where it dies first, takes too long or says that waiting is of no use."""
        gone = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(child.start_seconds):
                while not gone.done() and not await child.health():
                    await asyncio.wait((gone,), timeout=0.1)
        except TimeoutError:
            raise StackError(
                f"{child.name} was not ready after {child.start_seconds:.0f} s; "
                f"`trapstream logs {child.name}` says more"
            ) from None
        finally:
            gone.cancel()
        if gone.done() and not gone.cancelled():
            raise StackError(why_it_died(self._home, child, gone.result()))
        self._state(child.name, "up")

    async def _stop_all(self) -> None:
        """Stage by stage, the last one first; those of one stage side by side."""
        running = sorted(self._running.values(), key=_stage, reverse=True)
        for _, same in itertools.groupby(running, key=_stage):
            async with asyncio.TaskGroup() as stopping:
                for child, process in same:
                    stopping.create_task(self._stop_child(child, process))

    async def _stop_child(self, child: Child, process: asyncio.subprocess.Process) -> None:
        self._state(child.name, "stopping")
        if process.returncode is None:
            process.send_signal(child.stop_signal)
            ended = asyncio.create_task(process.wait())
            forced = asyncio.create_task(self._force.wait())
            await asyncio.wait((ended, forced), timeout=child.stop_seconds, return_when=asyncio.FIRST_COMPLETED)
            forced.cancel()
            if process.returncode is None:
                self._progress(f"{child.name}: killed, it did not stop")
        await self._remove_what_is_left(child, process)
        self._state(child.name, "down")

    async def _remove_what_is_left(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Nothing is left of a child: neither its group nor its shared memory."""
        processes.signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.to_thread(processes.wait_group_gone, process.pid, 5.0)
        processes.sweep(child.shm_prefix)

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            self._progress(f"forced to stop ({signal.Signals(number).name})")
            self._force.set()
        self._stop.set()

    def _state(self, name: str, new: ProcessState) -> None:
        self._process(replace(self._stack.process(name), state=new))

    def _process(self, changed: Process) -> None:
        self._stack = self._stack.with_process(changed)
        self._save()

    def _save(self, **changes: object) -> None:
        self._stack = replace(self._stack, **changes)  # type: ignore[arg-type]
        if claim.identity(self._home) != self._lock:
            return  # nobody could read it there, or it is another's
        try:
            state.write(self._home, self._stack)
        except OSError as error:  # a full disk must not keep the children from being stopped
            self._progress(f"stack.json could not be written: {error}")


def _delays() -> Iterator[float]:
    """Seconds before each next start of a child that dies again and again."""
    return itertools.chain((0.1,), retry.delays(first=1.0, most=_MOST_SECONDS))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _stage(running: tuple[Child, asyncio.subprocess.Process]) -> int:
    return running[0].stage
