"""What is away just now: servers of images, and models. Pure: the time is given.

A sick host is not a bad image. One image that fails says little: it may be the image. When several different images of
a host have failed, and it has answered for none since they were first asked for, the host is away. Then its images
wait, and one at a time is tried, ever more seldom. An answer brings all of them back. After `patience` the host is
given up: its images fail with the reason that it gave last, save the one that is still tried. An answer is anything
that the server says about the image itself, also "not found". A host that answers for some keeps the rule for single
images.

A model that is not loaded, or that answers everything with errors, is no bad image either. Nobody's patience ends
there: a job waits for its model until that is there and well, or until the job is cancelled.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from trapstream.core.errors import Permanent
from trapstream.core.messages import ModelInfo

IMAGES = 4
"""A host is away when as many different images of it have failed in a row."""
DOUBT_SECONDS = 5.0
"""As long an image that failed waits for a second opinion, where its host has answered for no other one meanwhile."""
_FIRST_DELAY, _MOST_DELAY = 0.5, 15.0
_MOST_HOSTS = 4096
"""Hosts remembered; the one that was not heard of for longest is forgotten."""


class Transient(Permanent):
    """A failure that may be its server's, and go away: worth another attempt, and a wait where the server is away."""

    def final(self) -> Permanent:
        """What the image fails with if it does not go away. To be kept: it holds none of the frames it came through."""
        return Permanent(self.reason, self.detail)


class Decision(Enum):
    """What becomes of an image that waits for its host or its model."""

    WAIT = "wait"
    TRY = "try"
    FAIL = "fail"


class Absence(NamedTuple):
    """A host or a model that is away."""

    since: float
    why: str
    """What it did last instead of answering."""
    given_up: bool = False
    """Whether it is away for longer than there is patience."""


class Away(Protocol):
    """What is known of the hosts, or of the models, each by its key."""

    def decision(self, key: str, first: float, held: float, now: float) -> Decision:
        """What to do with an image that was first put off at `first`, and last at `held`."""

    def absence(self, key: str, now: float) -> Absence | None:
        """None where it is not away."""

    def failure(self, key: str) -> Permanent | None:
        """What an image fails with that has waited for too long and was never tried."""


@dataclass(slots=True)
class _Host:
    answered: float = float("-inf")
    """When it last answered."""
    failed: set[str] = field(default_factory=set)
    """Different images that have failed since; at most IMAGES are kept."""
    away_since: float | None = None
    failure: Permanent | None = None
    """What it did last instead of answering."""
    next_try: float = 0.0
    delay: float = _FIRST_DELAY
    trying: bool = False
    """Whether a caller was admitted whose outcome is not known yet."""
    heard: float = 0.0
    """When it last failed."""


class Hosts:
    """What is known of each host. `answer_seconds` is the longest that one try can take."""

    def __init__(self, patience: float, answer_seconds: float) -> None:
        self._patience = patience
        self._answer_seconds = answer_seconds
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def answered(self, host: str, now: float) -> None:
        """The host said something about an image: it is well."""
        self._hosts.pop(host, None)
        self._known(host).answered = now

    def failed(self, host: str, image: str, failure: Permanent, began: float, now: float) -> None:
        """The host gave no answer for `image`, first asked for at `began`, which would fail with `failure`.

        It speaks against the host only if that has answered nothing since: bad images, tried again and again, are
        what is left over once all the good ones are answered.
        """
        known = self._known(host)
        known.failure, known.heard = failure, now
        if len(known.failed) < IMAGES and known.answered < began:
            known.failed.add(image)
        if len(known.failed) < IMAGES:
            return
        if known.away_since is None:
            known.away_since = now
        elif not known.trying:
            return  # asked before the host was known to be away: no part of the back-off
        known.trying = False
        known.next_try = now + known.delay
        known.delay = min(known.delay * 2, _MOST_DELAY)

    def _known(self, host: str) -> _Host:
        known = self._hosts.setdefault(host, _Host())
        if len(self._hosts) > _MOST_HOSTS:
            self._hosts.popitem(last=False)
        return known

    def admit(self, host: str, now: float) -> bool:
        """Lets the caller ask the host now, or not. While it is away one at a time is admitted, with back-off."""
        known = self._hosts.get(host)
        if known is None or known.away_since is None:
            return True
        if now < known.next_try:
            return False
        if now - known.heard > self._answer_seconds + 2 * _MOST_DELAY:
            del self._hosts[host]  # it was not asked lately: what is known of it is too old
            return True
        known.trying = True
        known.next_try = now + self._answer_seconds + known.delay  # until the caller's outcome is known
        return True

    def in_doubt(self, host: str, began: float) -> bool:
        """Whether a failure after tries since `began` may be the host's: it has answered for no image meanwhile."""
        known = self._hosts.get(host)
        return known is not None and known.answered < began

    def is_away(self, host: str) -> bool:
        """Whether the host is away, given up or not."""
        known = self._hosts.get(host)
        return known is not None and known.away_since is not None

    def absence(self, host: str, now: float) -> Absence | None:
        """Since when the host is away, and why; None where it is not."""
        known = self._hosts.get(host)
        if known is None or known.away_since is None:
            return None
        return Absence(known.away_since, str(known.failure), self._is_given_up(known, now))

    def failure(self, host: str) -> Permanent | None:
        """What the host did last instead of answering; None while it is well."""
        known = self._hosts.get(host)
        return known.failure if known is not None else None

    def decision(self, host: str, first: float, held: float, now: float) -> Decision:
        """What to do with an image that was first put off at `first`, and last at `held`."""
        known = self._hosts.get(host)
        if known is None or (known.away_since is None and known.answered >= held):
            return Decision.TRY
        if self._is_given_up(known, now) or now - first >= self._patience:
            return Decision.FAIL
        if known.away_since is None:
            return Decision.FAIL if now - held >= DOUBT_SECONDS else Decision.WAIT
        return Decision.TRY if now >= known.next_try else Decision.WAIT

    def _is_given_up(self, known: _Host, now: float) -> bool:
        return known.away_since is not None and now - known.away_since >= self._patience


@dataclass(frozen=True, slots=True)
class MissingModel:
    """A model that gives no answers."""

    model: ModelInfo
    since: float
    why: str
    """What the server said last."""
    blank: tuple[int, int, int] | None
    """Height, width, 3 of a blank image that it answered with an error; None for one that is not served."""


class MissingModels(dict[str, MissingModel]):
    """What is known of each of them, by its label (name@version)."""

    def missing(self, model: ModelInfo, why: str, now: float, blank: tuple[int, int, int] | None = None) -> None:
        """The server said that it does not serve `model`, or what it answers for a `blank` image."""
        since = self[model.label].since if model.label in self else now
        self[model.label] = MissingModel(model, since, why, blank)

    def absence(self, label: str, now: float) -> Absence | None:  # noqa: ARG002 - as that of Hosts
        """Since when the model is missing, and why; None where it is not. It is never given up."""
        known = self.get(label)
        return None if known is None else Absence(known.since, known.why)

    def failure(self, label: str) -> None:
        """None: no image fails because its model is missing."""

    def decision(self, label: str, first: float, held: float, now: float) -> Decision:  # noqa: ARG002 - as that of Hosts
        """What to do with an image that waits for its model."""
        return Decision.WAIT if label in self else Decision.TRY
