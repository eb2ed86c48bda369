"""Where images wait for a host that is away, out of the way of all others."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from consumer.hosts import Hosts, Verdict, host_of
from consumer.work import Task
from trapstream.core import log, metrics
from trapstream.core.errors import Permanent, Reason
from trapstream.core.messages import Lane

MOST = 10_000
"""Images of a lane that wait. With more the lane stops until there is room; the other lane goes on."""
_LOOK_SECONDS = 0.5
_SAY_SECONDS = 10.0
WHAT = "fetch host"
_UNKNOWN = Permanent(Reason.UNREACHABLE)


@dataclass(slots=True)
class _Held:
    task: Task
    failure: Permanent | None
    """Its own; None for one that was not tried."""
    since: float


class WaitingRoom:
    """Keeps tasks by host; `run` gives them back or fails them."""

    def __init__(
        self,
        hosts: Hosts,
        again: Callable[[Task], Awaitable[None]],
        fail: Callable[[Task, Permanent], Awaitable[None]],
        cancelled: Callable[[Task], bool],
        changed: Callable[[], None],
    ) -> None:
        """`again` takes a task to be fetched, `fail` one that failed; `changed` hears that there may be room again."""
        self._hosts = hosts
        self._again = again
        self._fail = fail
        self._cancelled = cancelled
        self._changed = changed
        self._held: dict[str, deque[_Held]] = {}
        self._count: Counter[Lane] = Counter()
        self._said: dict[str, float] = {}

    def is_full(self, lane: Lane) -> bool:
        """Whether the lane should bring no more images."""
        return self._count[lane] >= MOST

    def hold(self, task: Task, failure: Permanent | None = None) -> None:
        """Takes a task in. `failure` is what it failed with, if it was tried."""
        now = time.monotonic()
        if task.times.put_off is None:
            task.times.put_off = now
        waiting = self._held.setdefault(host_of(task.ref.uri) or "", deque())
        if failure is None:
            waiting.appendleft(_Held(task, failure, now))  # it is tried next: those that failed may be bad themselves
        else:
            waiting.append(_Held(task, failure, now))
        self._count[task.lane] += 1
        task.hold(1)

    async def run(self) -> None:
        """Looks after the tasks until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._say(time.monotonic())
            for host in list(self._held):
                await self._look(host)
                if not self._held[host]:
                    del self._held[host]

    async def _look(self, host: str) -> None:
        waiting = self._held[host]
        for _ in range(len(waiting)):
            held, now = waiting.popleft(), time.monotonic()
            task, verdict = held.task, self._verdict(host, held, now)
            if verdict is Verdict.WAIT:
                waiting.append(held)  # behind the others: not always the same one is tried
                continue
            self._count[task.lane] -= 1
            task.hold(-1)
            self._changed()
            if not task.wanted():
                continue
            if self._cancelled(task):
                task.done()
            elif verdict is Verdict.FAIL:
                await self._fail(task, held.failure or self._hosts.failure(host) or _UNKNOWN)
            else:
                await self._again(task)
                if self._hosts.is_away(host):
                    return  # one at a time

    def _verdict(self, host: str, held: _Held, now: float) -> Verdict:
        if not held.task.wanted() or self._cancelled(held.task):
            return Verdict.TRY
        return self._hosts.verdict(host, held.task.times.put_off or held.since, held.since, now)

    def _say(self, now: float) -> None:
        away = {host: since for host, since in self._hosts.away().items() if self._held.get(host)}
        for host in [host for host in self._said if host not in away]:
            del self._said[host]
            event = "given up" if self._hosts.is_given_up(host, now) else "back"
            log.get_logger().info(event, what=WHAT, host=host)
        for host, since in away.items():
            if now - self._said.get(host, -_SAY_SECONDS) >= _SAY_SECONDS:
                self._said[host] = now
                waiting, why = len(self._held[host]), str(self._hosts.failure(host))
                seconds = round(now - since)
                log.get_logger().warning("waiting", on=WHAT, host=host, error=why, images=waiting, seconds=seconds)
        metrics.WAITING.labels(WHAT).set(1 if away else 0)
