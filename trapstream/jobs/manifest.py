"""The parts of a manifest's line: names and addresses, and the notes on entries that were left out. Pure."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from trapstream.core.errors import TrapstreamError

MOST_LINE_BYTES = 32 * 1024
"""Longest entry of a list. Far above any path; it keeps a reference small enough for Kafka."""

_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
_STORE_SCHEMES = frozenset({b"s3", b"gs", b"az"})
_CONTROL = re.compile("[\\x00-\\x1f\\x7f]")
_UNSAFE = re.compile(rb"[^A-Za-z0-9/~._-]")
_UNSAFE_URL = re.compile(rb"[^A-Za-z0-9%:/?#\[\]@!$&'()*+,;=~._-]")


class SourceError(TrapstreamError):
    """A SOURCE that cannot be read. The text is one line that says what was expected."""


def is_exact_key(key: str) -> bool:
    """Whether the object store's client reads exactly this key.

    It refuses control characters and steps that are empty, `.` or `..`, and takes away a slash at either end: then it
    would read another object.
    """
    return not _CONTROL.search(key) and not any(step in ("", ".", "..") for step in key.split("/"))


def is_url(location: bytes) -> bool:
    """Whether `location` begins with a scheme."""
    return _URL.match(location) is not None


def as_text(raw: bytes) -> str:
    """`raw` as valid Unicode: bytes that are not UTF-8 become `\\xff` and the like. Never a lone surrogate."""
    return raw.decode("utf-8", errors="backslashreplace")


def as_bytes(text: str) -> bytes:
    """The bytes of a path that came as text. UnicodeEncodeError for text that is no Unicode.

    Python writes a name that is not UTF-8 with surrogates (`\\udcff`): those become the bytes that they stand for.
    """
    return text.encode("utf-8", errors="surrogateescape")


def file_uri(path: bytes) -> str:
    """The address of an absolute path: every byte comes back, whatever it was."""
    return "file://" + _encoded(_UNSAFE, path)


def url_uri(url: bytes) -> str:
    """The address for a URL as a list gives it.

    http(s) and file URLs are percent-encoded already; only bytes that no URL may hold are encoded. After s3://, gs://
    and az:// stands a raw object key, as the stores' own tools print it, so its `%` is a `%`.
    """
    scheme, _, rest = url.partition(b"://")
    if scheme.lower() in _STORE_SCHEMES:
        return f"{scheme.decode().lower()}://{_encoded(_UNSAFE, rest)}"
    return quoted(url)


def quoted(uri: bytes) -> str:
    """A percent-encoded address; bytes that no address may hold are encoded, the rest stands as it is."""
    return _encoded(_UNSAFE_URL, uri)


def _encoded(unsafe: re.Pattern[bytes], raw: bytes) -> str:
    return unsafe.sub(lambda found: b"%%%02X" % ord(found[0]), raw).decode()


def path_of_uri(uri: bytes) -> bytes:
    """The path in a file:// address."""
    return b"/" + unquote_to_bytes(uri.partition(b"://")[2]).lstrip(b"/")


def normalised(path: bytes) -> bytes:
    """A relative or absolute path without empty steps and `.`; `..` stays, since links may stand before it."""
    if b"//" not in path and b"./" not in path and not path.endswith(b"/."):
        return path
    steps = [step for step in path.split(b"/") if step not in (b"", b".")]
    return (b"/" if path.startswith(b"/") else b"") + b"/".join(steps)


def absolute(path: bytes, base: bytes) -> bytes:
    """`path`, which may be relative to the folder `base`."""
    return path if path.startswith(b"/") else base.rstrip(b"/") + b"/" + path


def prefixes(bases: Sequence[bytes]) -> dict[bytes, str]:
    """A prefix for each base that tells it from the others: as few of its last names as that takes, with a slash.

    All prefixes have the same number of names, so no name behind one can look like a name behind another.
    """
    steps = {base: [step for step in base.split(b"/") if step] for base in bases}
    for count in range(1, max((len(each) for each in steps.values()), default=0) + 1):
        ends = {base: b"/".join(each[-count:]) for base, each in steps.items()}
        if len(set(ends.values())) == len(ends):
            return {base: as_text(end) + "/" if end else "" for base, end in ends.items()}
    return dict.fromkeys(bases, "")


@dataclass
class Notes:
    """The entries that were left out on the way, counted, with the first few names of each kind."""

    most: int = 3
    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str, most: int | None = None) -> None:
        """Counts one more of `kind`, of which `most` different names are told."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        first = self.names.setdefault(kind, [])
        if len(first) < (most or self.most) and name not in first:
            first.append(name)

    def clear(self) -> None:
        """Forgets all of them."""
        self.counts.clear()
        self.names.clear()

    def lines(self) -> list[str]:
        """One line for each kind, for the user."""
        return [f"{count} {kind}: {shown(self.names[kind], count)}" for kind, count in self.counts.items()]


def shown(names: Iterable[str], count: int) -> str:
    """The names in one line, and that there are more."""
    quoted = [ascii_safe(name) for name in names]
    return ", ".join(quoted) + (", ..." if count > len(quoted) else "")


def ascii_safe(name: str) -> str:
    """A name for a message: one line, whatever is in it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def path_text(path: bytes) -> str:
    """A path for a message to the user: one line, valid Unicode."""
    return ascii_safe(as_text(os.fspath(path)))
