"""The fold: the first result for (job, seq) in the log wins. Pure.

What was seen is a bitmap in pieces of 4,096 images, so that memory follows the images that are there and not the
highest number that a message claims. A piece is also the unit in which entries are stored (`results/blocks.py`).
"""

from dataclasses import dataclass, field

import msgspec

from trapstream.core.errors import BadMessage, Reason
from trapstream.core.messages import Counts, Outcome, ResultHead

PIECE_BITS = 12
PIECE = 1 << PIECE_BITS
"""Images in a piece."""

CODES: dict[tuple[Outcome, Reason | None], int] = {
    (Outcome.DETECTED, None): 0,
    (Outcome.EMPTY, None): 1,
    (Outcome.FAILED, Reason.NOT_FOUND): 2,
    (Outcome.FAILED, Reason.NO_PERMISSION): 3,
    (Outcome.FAILED, Reason.NOT_A_FILE): 4,
    (Outcome.FAILED, Reason.FORBIDDEN): 5,
    (Outcome.FAILED, Reason.UNSUPPORTED_URI): 6,
    (Outcome.FAILED, Reason.HTTP_STATUS): 7,
    (Outcome.FAILED, Reason.UNREACHABLE): 8,
    (Outcome.FAILED, Reason.TIMED_OUT): 9,
    (Outcome.FAILED, Reason.TOO_LARGE): 10,
    (Outcome.FAILED, Reason.EMPTY_FILE): 11,
    (Outcome.FAILED, Reason.NOT_AN_IMAGE): 12,
    (Outcome.FAILED, Reason.DAMAGED): 13,
    (Outcome.FAILED, Reason.TOO_MANY_PIXELS): 14,
    (Outcome.FAILED, Reason.MODEL_REFUSED): 15,
    (Outcome.FAILED, Reason.LOST): 16,
    (Outcome.FAILED, Reason.TOO_COSTLY): 17,
}
"""What became of an image, in one byte. The stores hold these numbers: never change one, only add."""

_MEANINGS = {code: meaning for meaning, code in CODES.items()}


def code_of(head: ResultHead) -> int:
    """The byte for a result's outcome. BadMessage if outcome and reason do not fit each other."""
    code = CODES.get((head.outcome, head.reason))
    if code is None:
        raise BadMessage(f"outcome {head.outcome} does not go with reason {head.reason}")
    return code


class Result(msgspec.Struct, frozen=True, gc=False):
    """A result that can be folded."""

    job: str
    seq: int
    code: int
    entry: bytes
    """One JSON object on one line, UTF-8: these bytes go to the file."""


@dataclass(slots=True)
class JobFold:
    """What the fold knows of one job."""

    seen: dict[int, bytearray] = field(default_factory=dict)
    """Piece number to its bitmap: one bit an image, 512 bytes."""
    tally: dict[int, int] = field(default_factory=dict)
    """Code to count."""
    repeated: int = 0
    """Results that came again."""
    highest: int = -1
    """Of the seqs seen."""

    @property
    def done(self) -> int:
        """Images with an entry."""
        return sum(self.tally.values())

    def below(self, total: int) -> int:
        """How many images with seq < `total` have an entry."""
        if self.highest < total:
            return self.done
        whole, rest = divmod(total, PIECE)
        count = sum(int.from_bytes(bits, "little").bit_count() for piece, bits in self.seen.items() if piece < whole)
        last = int.from_bytes(self.seen.get(whole, b""), "little") & ((1 << rest) - 1)
        return count + last.bit_count()


def fold(state: JobFold, seq: int, code: int) -> bool:
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
    state.tally[code] = state.tally.get(code, 0) + 1
    state.highest = max(state.highest, seq)
    return True


def counts(tally: dict[int, int]) -> Counts:
    """The account that goes to users: outcomes, and failures by reason in the order of their codes."""
    failed: dict[str, int] = {}
    for code in sorted(tally):
        outcome, reason = _MEANINGS[code]
        if outcome is Outcome.FAILED and tally[code]:
            failed[str(reason)] = tally[code]
    return Counts(detected=tally.get(0, 0), empty=tally.get(1, 0), failed=failed)
