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
    FAULT = "something failed that says nothing of the image: an instance of the model died, say"
    REFUSED = "the model refuses the image"


REFUSAL = "image refused: "
"""Stands in each answer of the CPU's entries that refuses an image (model_repository/templates/cpu/model.py)."""
MARKING = "python"
"""The platform of the entries that mark a refusal so. Other backends run in the server itself: they die with it, and
any other error of theirs is about the request."""
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


def meaning(text: str, status: str | None, platform: str = "") -> Meaning:
    """What the error with this text and this gRPC status means, where an entry of that `platform` was asked."""
    if REFUSAL in text:
        return Meaning.REFUSED
    if _REGION in text and "already" in text:
        return Meaning.REGION_KNOWN
    for words, found in _WORDS:
        if words in text:
            return found
    if status in _AWAY:
        return Meaning.AWAY
    return Meaning.FAULT if platform == MARKING else Meaning.REFUSED
