"""Which servers of images are away: a sick host is not a bad image. Pure: the time is given.

One image that fails says little: it may be the image. When several different images of a host have failed, and it has
answered for none since they were first asked for, the host is away. Then its images wait, and one at a time is tried,
ever more seldom. An answer brings all of them back. After `patience` the host is given up: its images fail with the
reason that it gave last, save the one that is still tried. An answer is anything that the server says about the image
itself, also "not found". A host that answers for some keeps the rule for single images.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from trapstream.core.errors import Permanent

IMAGES = 4
"""A host is away when so many different images of it have failed in a row."""
DOUBT_SECONDS = 5.0
"""An image that failed, at a host that has answered for no other one meanwhile, waits so long for a second opinion."""
_FIRST_DELAY, _MOST_DELAY = 0.5, 15.0
_MOST_HOSTS = 4096
"""Hosts remembered; the one that was not heard of for longest is forgotten."""


class Verdict(Enum):
    """What becomes of an image that waits for its host."""

    WAIT = "wait"
    TRY = "try"
    FAIL = "fail"


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
    """Whether somebody was let through who has not told yet how it went."""
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

    def may_ask(self, host: str, now: float) -> bool:
        """Whether to ask the host now. While it is away one caller at a time may, with back-off."""
        known = self._hosts.get(host)
        if known is None or known.away_since is None:
            return True
        if now < known.next_try:
            return False
        if now - known.heard > self._answer_seconds + 2 * _MOST_DELAY:
            del self._hosts[host]  # nobody has asked for it lately: what is known of it is too old
            return True
        known.trying = True
        known.next_try = now + self._answer_seconds + known.delay  # until the caller has told how it went
        return True

    def in_doubt(self, host: str, began: float) -> bool:
        """Whether a failure after tries since `began` may be the host's: it has answered for no image meanwhile."""
        known = self._hosts.get(host)
        return known is not None and known.answered < began

    def is_away(self, host: str) -> bool:
        """Whether the host is away, given up or not."""
        known = self._hosts.get(host)
        return known is not None and known.away_since is not None

    def is_given_up(self, host: str, now: float) -> bool:
        """Whether the host is away for longer than there is patience."""
        known = self._hosts.get(host)
        return known is not None and known.away_since is not None and now - known.away_since >= self._patience

    def failure(self, host: str) -> Permanent | None:
        """What the host did last instead of answering; None while it is well."""
        known = self._hosts.get(host)
        return known.failure if known is not None else None

    def why(self, host: str) -> str:
        """What the host did last instead of answering, in words."""
        return str(self.failure(host))

    def away(self) -> dict[str, float]:
        """The hosts that are away, and since when."""
        return {name: host.away_since for name, host in self._hosts.items() if host.away_since is not None}

    def verdict(self, host: str, first: float, held: float, now: float) -> Verdict:
        """What to do with an image that was first put off at `first`, and last at `held`."""
        known = self._hosts.get(host)
        if known is None or (known.away_since is None and known.answered >= held):
            return Verdict.TRY
        if self.is_given_up(host, now) or now - first >= self._patience:
            return Verdict.FAIL
        if known.away_since is None:
            return Verdict.FAIL if now - held >= DOUBT_SECONDS else Verdict.WAIT
        return Verdict.TRY if now >= known.next_try else Verdict.WAIT


def host_of(uri: str) -> str | None:
    """The server, or the bucket, behind `uri`, without user and password; None for a local file."""
    try:
        parts = urlsplit(uri)
        if parts.scheme in {"", "file"} or not parts.hostname:
            return None
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}{port}"
