"""What an error of Triton means for whoever asked. Pure.

Triton's status codes do not tell most of these apart, so its words do. All words that are looked for stand here.
"""

from enum import Enum


class Meaning(Enum):
    """Of an error that Triton answers with, or that its client raises."""

    AWAY = "the server is away, or did not answer in time"
    NOT_SERVED = "the server does not have the model, or not at the moment"
    REGION_UNKNOWN = "the server does not know the shared memory region, or knows an older one: it was started anew"
    REGION_KNOWN = "the server knows the shared memory region already"
    OTHER_INPUT = "the model has no such input: it may have been made anew, by other means"
    REFUSED = "the server is there and refuses the request"


_REGION = "shared memory region"
_WORDS = (
    ("unexpected inference input", Meaning.OTHER_INPUT),
    (_REGION, Meaning.REGION_UNKNOWN),
    ("unknown model", Meaning.NOT_SERVED),
    ("not at ready state", Meaning.NOT_SERVED),
)
"""The first that occurs in an error's text decides."""
_AWAY = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"})
"""Of gRPC, as tritonclient writes them."""


def meaning(text: str, status: str | None) -> Meaning:
    """What the error with this text and this gRPC status means."""
    if _REGION in text and "already" in text:
        return Meaning.REGION_KNOWN
    for words, found in _WORDS:
        if words in text:
            return found
    return Meaning.AWAY if status in _AWAY else Meaning.REFUSED
