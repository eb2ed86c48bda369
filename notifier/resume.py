"""Event ids, and where a stream begins. Pure.

An id is PARTITION:OFFSET of the job's own partition of `detections`: it means the same to every notifier, for as long
as the log is kept. Each result stands at one offset, so a stream that goes on after one has neither a gap nor a double.
"""

import re
from typing import NamedTuple

from trapstream.core.errors import TrapstreamError

END = "end"
"""The id of a stream's last event."""
_ID = re.compile(r"(\d{1,5}):(\d{1,18})\Z", re.ASCII)


class BadId(TrapstreamError):
    """A Last-Event-ID that is none of this job's, and what was expected, in one line."""


class Start(NamedTuple):
    """Where a stream begins."""

    place: int | None
    """The offset to read from; None: where the job begins."""
    told: int
    """What stands before it was told already: it is heard, and not told again."""
    now: bool = False
    """What is there when the stream begins counts as told."""


def event_id(partition: int, offset: int) -> str:
    """The id of what stands at an offset."""
    return f"{partition}:{offset}"


def start(last: str | None, partition: int, cools_down: bool, from_now: bool = False) -> Start:
    """Where a stream goes on after the event with the id `last`; at the job's beginning, or now, where there was none.

    `cools_down`: it has a cool-down. Then the job is read from its beginning again, since what rang before decides
    what may ring now. BadId.
    """
    if last is None or last in {"", END}:
        return Start(None, 0, from_now)
    match = _ID.match(last)
    if match is None or int(match[1]) != partition:
        raise BadId(f"Last-Event-ID is the id of an event of this job, such as {partition}:1742")
    after = int(match[2]) + 1
    return Start(None if cools_down else after, after)
