"""From the log's records to what the fold takes, and to what must be parked. Pure."""

import re
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple, Protocol

import msgspec

from trapstream.core import messages
from trapstream.core.errors import BadMessage
from trapstream.core.messages import ResultHead
from trapstream.results.fold import Result, kind_of

_JOB = re.compile(messages.JOB_PATTERN.rstrip("$") + r"\Z")

_BRACE = ord("{")


class Record(Protocol):
    """What is used of a Kafka record."""

    @property
    def value(self) -> bytes | None:
        """Its bytes."""


class Read(NamedTuple):
    """A batch, read."""

    results: list[Result]
    bad: list[tuple[Record, str]]
    """Records that cannot be read, with the reason."""


def read(records: Sequence[Record], partition: int, known: Container[str], partition_of: Callable[[str], int]) -> Read:
    """Reads a batch of `partition`. `known`: names of jobs that were checked before. `partition_of`: a job's own."""
    fresh: set[str] = set()
    results: list[Result] = []
    bad: list[tuple[Record, str]] = []
    for record in records:
        try:
            value = record.value or b""
            head = messages.decode(value, ResultHead)
            if head.job not in known and head.job not in fresh:
                if not _JOB.match(head.job):
                    raise BadMessage("the job's name is not one that this system makes")
                if partition_of(head.job) != partition:
                    raise BadMessage(f"job {head.job} belongs on partition {partition_of(head.job)}")
                fresh.add(head.job)
            results.append(Result(head.job, head.seq, kind_of(head), _entry(value, head)))
        except BadMessage as error:
            bad.append((record, str(error)))
    return Read(results, bad)


def _entry(value: bytes, head: ResultHead) -> bytes:
    """The entry as it goes to the file: one JSON object on one line, UTF-8."""
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise BadMessage(f"not UTF-8: {error.reason}") from None
    entry = bytes(head.entry)
    if entry[0] == _BRACE and b"\n" not in value and b"\r" not in value:  # as this system writes it
        return entry
    entry = entry.strip()
    if not entry.startswith(b"{"):
        raise BadMessage("the entry is not an object")
    return msgspec.json.format(entry, indent=-1) if b"\n" in entry or b"\r" in entry else entry
