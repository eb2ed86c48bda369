"""API keys: a file with the digest of each, its name, and how many images a minute it may send."""

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from trapstream.core import log
from trapstream.core.errors import TrapstreamError


class BadKeys(TrapstreamError):
    """The file of the keys cannot be used. The text is one line that says what to do."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key."""

    name: str
    """For people and logs."""
    sha256: str
    """Hexadecimal digest of the key: the key itself stands nowhere. A key is random, so a plain digest is enough."""
    per_minute: int = 600
    """Images that it may send in a minute."""
    revoked: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[Key]


class Keys:
    """The keys of a file, which is read again when it changes: a key is revoked without a restart."""

    def __init__(self, path: Path) -> None:
        """BadKeys."""
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: list[Key] = []
        self._read()

    def find(self, given: str) -> Key | None:
        """The key that was given; None for one that is not there. It takes as long for either. BadKeys."""
        self._read()
        digest = hashlib.sha256(given.encode(errors="surrogateescape")).hexdigest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(digest.encode(), key.sha256.lower().encode()):
                found = key
        return found

    def _read(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            keys = msgspec.json.decode(self._path.read_bytes(), type=_File).keys
        except OSError as error:
            raise BadKeys(f"the API keys in {self._path} cannot be read ({error.strerror})") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadKeys(f"{self._path} is no file of API keys ({error}); docs/operators/live.md shows one") from None
        names = [key.name for key in keys]
        if len(set(names)) < len(names):
            raise BadKeys(f"{self._path} names a key twice: quotas are kept by name")
        self._keys, self._stamp = keys, stamp
        log.get_logger().info("API keys read", keys=len(keys), revoked=sum(key.revoked for key in keys))


class Quotas:
    """How much of its minute each key has left: a bucket that fills all the time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        """Name to images left, and when that was so."""

    def wait(self, key: Key) -> float:
        """Seconds until the key may send another image; 0 if it may now."""
        left = self._now(key)
        return 0.0 if left >= 1 else (1 - left) * 60 / max(key.per_minute, 1)

    def spend(self, key: Key, images: int) -> None:
        """Takes images off; a balance below 0 is paid back by waiting."""
        self._left[key.name] = (self._now(key) - images, self._clock())

    def _now(self, key: Key) -> float:
        most = float(max(key.per_minute, 1))
        left, when = self._left.get(key.name, (most, self._clock()))
        return min(most, left + (self._clock() - when) * most / 60)
