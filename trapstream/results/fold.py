"""The fold: records of the log are read, and the first result for (job, seq) wins. Pure.

What was seen is a bitmap in pieces of 4,096 images, so that memory follows the images that are there and not the
highest number that a message claims. A piece is also the unit in which entries are stored (`results/blocks.py`).
"""

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from trapstream.core import messages
from trapstream.core.errors import BadMessage
from trapstream.core.messages import Counts, Outcome, ResultHead

PIECE_BITS = 12
PIECE = 1 << PIECE_BITS
"""Images in a piece."""

_REASON = re.compile(r"(?!(detected|empty)\Z)[ -9;-~]{1,64}\Z")
"""The form of a reason: one line of ASCII without a colon, since a colon ends it in the entry's `failure`."""
_PLAIN = {Outcome.DETECTED: "detected", Outcome.EMPTY: "empty"}
"""A plain string is looked up faster than a member of an enumeration is."""
_JOB = re.compile(messages.JOB_PATTERN)
_BRACE = ord("{")


def kind_of(head: ResultHead) -> str:
    """`detected`, `empty`, or the reason of a failure. BadMessage if outcome and reason do not fit each other.

    A reason need not be one that this version knows: a consumer of a later version may be upgraded first, and its
    results count as any other.
    """
    kind = _PLAIN.get(head.outcome)
    if kind is not None and head.reason is None:
        return kind
    if kind is not None or head.reason is None:
        raise BadMessage(f"outcome {head.outcome} does not go with reason {head.reason}")
    if not _REASON.match(head.reason):
        raise BadMessage("the reason is not one line of up to 64 ASCII characters without a colon")
    return head.reason


class Result(msgspec.Struct, frozen=True, gc=False):
    """A result that can be folded."""

    job: str
    seq: int
    kind: str
    """`detected`, `empty`, or the reason of its failure."""
    entry: bytes
    """One JSON object on one line, UTF-8: these bytes go to the file."""


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


@dataclass(slots=True)
class JobFold:
    """What the fold knows of one job."""

    seen: dict[int, bytearray] = field(default_factory=dict)
    """Piece number to its bitmap: one bit an image, 512 bytes."""
    tally: dict[str, int] = field(default_factory=dict)
    """Kind of result to count."""
    repeated: int = 0
    """Results that came again."""

    def below(self, total: int) -> int:
        """How many images with seq < `total` have an entry."""
        whole, rest = divmod(total, PIECE)
        count = sum(int.from_bytes(bits, "little").bit_count() for piece, bits in self.seen.items() if piece < whole)
        last = int.from_bytes(self.bits(whole), "little") & ((1 << rest) - 1)
        return count + last.bit_count()

    def bits(self, piece: int) -> bytes:
        """Which images of a piece have their entry: one bit for each, the lowest first."""
        return bytes(self.seen.get(piece, bytes(PIECE // 8)))


def fold(state: JobFold, seq: int, kind: str) -> bool:
    """Takes one result into `state`. False if the image has one already: then only `repeated` grows."""
    piece = seq >> PIECE_BITS
    bits = state.seen.get(piece)
    if bits is None:
        bits = state.seen[piece] = bytearray(PIECE // 8)
    byte = (seq & (PIECE - 1)) >> 3
    bit = 1 << (seq & 7)
    if bits[byte] & bit:
        state.repeated += 1
        return False
    bits[byte] |= bit
    state.tally[kind] = state.tally.get(kind, 0) + 1
    return True


def counts(tally: Mapping[str, int]) -> Counts:
    """The account that goes to users: outcomes, and failures by reason."""
    failed = {str(kind): count for kind, count in sorted(tally.items()) if kind not in _PLAIN}
    return Counts(detected=tally.get(Outcome.DETECTED, 0), empty=tally.get(Outcome.EMPTY, 0), failed=failed)
