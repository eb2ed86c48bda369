"""The reasons of failures, and errors that say what to do: try again, give up on this image, or stop. Pure."""

from enum import StrEnum


class Reason(StrEnum):
    """Why an image has no detections: the list of this version (docs/ecologists/failures.md explains each).

    A later version may add to it and rename none: readers count a reason that they do not know under its own text, one
    line of up to 64 ASCII characters without a colon.
    """

    NOT_FOUND = "not found"
    NO_PERMISSION = "no permission"
    NOT_A_FILE = "not a file"
    FORBIDDEN = "forbidden location"
    UNSUPPORTED_URI = "unsupported address"
    HTTP_STATUS = "server answered with an error"
    UNREACHABLE = "server not reachable"
    TIMED_OUT = "timed out"
    TOO_LARGE = "file too large"
    EMPTY_FILE = "empty file"
    NOT_AN_IMAGE = "not an image"
    DAMAGED = "damaged image"
    TOO_MANY_PIXELS = "too many pixels"
    TOO_COSTLY = "too costly to decode"
    MODEL_REFUSED = "the model refused the image"
    LOST = "never answered"


_INFERENCE = frozenset({Reason.MODEL_REFUSED, Reason.LOST})


def failure_text(reason: Reason, detail: str = "") -> str:
    """The `failure` string of an entry. It begins as MegaDetector's own two strings do.

    The same fault must give the same text: no time, no address of memory, no attempt number in `detail`.
    """
    start = "inference failure" if reason in _INFERENCE else "image access failure"
    return f"{start}: {reason}" + (f": {detail}" if detail else "")


class TrapstreamError(Exception):
    """The root of all errors that this project raises on purpose."""


class Retryable(TrapstreamError):
    """The other side is away or busy. Nothing is wrong with the image: wait and try again."""


class Permanent(TrapstreamError):
    """The image's own fault. It becomes one failure entry and costs nothing else."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(failure_text(reason, detail))
        self.reason = reason
        self.detail = detail


class BadMessage(TrapstreamError):
    """A message that cannot be read at all. It goes to the dead letters, and the stream goes on."""


class BadInput(TrapstreamError):
    """A value that a client gave and that cannot be used. The text is one line that says what was expected."""


class Fatal(TrapstreamError):
    """The process cannot go on. The text is one line that says what to do."""
