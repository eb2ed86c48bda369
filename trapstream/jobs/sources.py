"""SOURCE as a user writes it -> the lines of a manifest, as a stream, in an order that does not change.

The name of an image in the result (`file`):
- of a folder or bucket prefix: relative to it, with forward slashes;
- of a list: as it stands in the list (without empty steps and `.`, and as `entries.py` understands it); a path may be
  absolute or relative to the list's folder (for standard input: to the working folder); a URL stands as given, so leave
  secrets out of it;
- if two SOURCEs would give two images one name, relative names get the last names of their folder in front.
A name comes once: an entry with the name of one before it is left out, and a note says so.
"""

# ruff: noqa: PTH100, PTH109, PTH112, PTH116, PTH119, PTH120, PTH123
# Paths are bytes here, so that every name works; pathlib has only text.

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BufferedReader
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trapstream.core.messages import MOST_IMAGES
from trapstream.core.result_store import ManifestLine
from trapstream.jobs import buckets, entries, lists, manifest
from trapstream.jobs.kinds import IMAGE_SUFFIXES, is_image_name
from trapstream.jobs.manifest import Notes, SourceError
from trapstream.jobs.walk import walk

_TWICE = "entries with the name of an entry before them were left out"
_BATCH = 8192
MOST_RUN = 1 << 20
"""Names in a sorted run; two runs are merged while both are smaller, so that merging needs little room."""


class SourceImage(NamedTuple):
    """One image of a SOURCE."""

    line: ManifestLine
    is_relative: bool
    """Its name is relative to the SOURCE's base."""


@dataclass(frozen=True)
class Source:
    """One SOURCE, looked at but not read."""

    text: str
    """As the user wrote it, for messages."""
    base: bytes
    """Folder or bucket prefix that its relative names begin at."""
    found: Callable[[Notes], Iterator[SourceImage]]
    again: bool = True
    """Whether it can be read a second time."""


def open_sources(texts: Sequence[str], anyway: bool = False) -> list[Source]:
    """The SOURCEs of a command line. SourceError, one line, for a text that is none; nothing is read yet.

    With `anyway`, a list may name what is not there.
    """
    if not texts:
        raise SourceError("no SOURCE: give a folder, an image, a list, a bucket prefix, or - for standard input")
    if "" in texts:
        raise SourceError("a SOURCE is empty: give a folder, an image, a list, a bucket prefix, or -")
    sources = [_open(text, anyway) for text in texts]
    if len(sources) > 1 and not all(source.again for source in sources):
        raise SourceError("standard input or a pipe cannot be combined with other SOURCEs: it can be read only once")
    return sources


def manifest_lines(sources: Sequence[Source], notes: Notes) -> Iterator[ManifestLine]:
    """The lines of the manifest, each name once. SourceError if a SOURCE has no image or cannot be read."""
    front = _prefixes(sources)
    seen, count = Seen(), 0
    for source in sources:
        before = front.get(source.base, "")
        for batch in _batches(_not_empty(source, notes)):
            lines = [_prefixed(found, before) for found in batch]
            for line, new in zip(lines, seen.add([line.file.encode() for line in lines]), strict=True):
                if not new:
                    notes.add(_TWICE, line.file)
                    continue
                if count == MOST_IMAGES:
                    raise SourceError(f"more than {MOST_IMAGES:,} images: make several jobs of them")
                count += 1
                yield line


def check(texts: Sequence[str], anyway: bool = False) -> None:
    """SourceError if a SOURCE is wrong at first sight: absent, unreadable, without any image, a list that fits nothing.

    It looks no further than the first image or the first entries of a list, and not at all into standard input.
    """
    for source in open_sources(texts, anyway):
        if source.again:
            next(_not_empty(source, Notes()))


def _not_empty(source: Source, notes: Notes) -> Iterator[SourceImage]:
    some = False
    for found in source.found(notes):
        some = True
        yield found
    if not some:
        looked = ", ".join(suffix.decode() for suffix in IMAGE_SUFFIXES)
        hint = "".join(f"; {line}" for line in notes.lines())
        raise SourceError(f"no images in {manifest.ascii_safe(source.text)} (looked for {looked}{hint})")


def _prefixes(sources: Sequence[Source]) -> dict[bytes, str]:
    """The prefix of the relative names of each base: nothing, unless two images would share a name."""
    bases = list(dict.fromkeys(source.base for source in sources))
    if len(bases) < 2:
        return {}
    names, images = Seen(), Seen()
    for source in sources:
        for batch in _batches(source.found(Notes())):
            files = [found.line.file.encode() for found in batch]
            both = [file + b"\0" + found.line.uri.encode() for file, found in zip(files, batch, strict=True)]
            for new_name, new_image in zip(names.add(files), images.add(both), strict=True):
                if new_image and not new_name:
                    return manifest.prefixes(bases)
    return {}


def _prefixed(found: SourceImage, before: str) -> ManifestLine:
    line = found.line
    if not before or not found.is_relative:
        return line
    return ManifestLine(file=before + line.file, uri=line.uri, meta=line.meta)


def _batches(items: Iterator[SourceImage]) -> Iterator[list[SourceImage]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


def _open(text: str, anyway: bool) -> Source:
    location = os.fsencode(text)
    if text == "-":
        base = os.getcwdb()
        name = "standard input"
        return Source(name, base, lambda _: _listed(_standard_input(), name, base, anyway), again=False)
    if manifest.is_url(location):
        return _open_url(text, location, anyway)
    path = os.path.abspath(location)
    if os.path.isdir(path):
        return Source(text, path, lambda notes: _walked(path, notes))
    folder = os.path.dirname(path)
    try:
        kind = os.stat(path).st_mode
    except OSError as error:
        raise SourceError(f"{manifest.path_text(location)}: {error.strerror}") from None
    if is_image_name(path):
        image = _local(path, os.path.basename(path))
        return Source(text, folder, lambda _: iter([image]))
    name = manifest.path_text(location)
    if not stat.S_ISREG(kind):  # a pipe, such as a shell's <(...): it can be read once, and has no folder of its own
        base = os.getcwdb()
        return Source(text, base, lambda _: _list_file(path, name, base, anyway), again=False)
    _open_list(path, name).close()
    return Source(text, folder, lambda _: _list_file(path, name, folder, anyway))


def _open_url(text: str, url: bytes, anyway: bool) -> Source:
    scheme, shown = url.partition(b"://")[0].lower(), manifest.path_text(url)
    if scheme in (b"s3", b"gs", b"az"):
        return Source(text, url, lambda notes: (SourceImage(line, True) for line in buckets.images(text, notes)))
    if scheme == b"file":
        return _open(os.fsdecode(manifest.path_of_uri(url)), anyway)
    if scheme in (b"http", b"https"):
        if not is_image_name(url.partition(b"?")[0]):
            raise SourceError(f"{shown}: over HTTP an image can be read, not a list or a folder")
        line = ManifestLine(file=manifest.as_text(url), uri=manifest.url_uri(url))
        return Source(text, b"", lambda _: iter([SourceImage(line, False)]))
    raise SourceError(f"{shown}: {scheme.decode()}:// cannot be read; use a path, http(s)://, s3://, gs:// or az://")


def _walked(root: bytes, notes: Notes) -> Iterator[SourceImage]:
    base = root.rstrip(b"/") + b"/"
    for relative in walk(root, notes):
        yield _local(base + relative, relative)


def _local(path: bytes, name: bytes) -> SourceImage:
    return SourceImage(ManifestLine(file=manifest.as_text(name), uri=manifest.file_uri(path)), True)


def _standard_input() -> BufferedReader:
    # A reader of its own: Python locks up at exit if a thread still waits in sys.stdin's.
    return open(0, "rb", closefd=False)


def _list_file(path: bytes, name: str, base: bytes, anyway: bool) -> Iterator[SourceImage]:
    with _open_list(path, name) as stream:
        yield from _listed(stream, name, base, anyway)


def _open_list(path: bytes, name: str) -> BufferedReader:
    try:
        return open(path, "rb")
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from None


def _listed(stream: BufferedReader, name: str, base: bytes, anyway: bool) -> Iterator[SourceImage]:
    try:
        images = (_of_item(item, base, name, anyway) for item in lists.form_of(stream, name)(stream, name))
        first = list(islice(images, entries.MOST_LOOKED_AT))
        if not anyway:
            entries.require_one([image.line.uri for image in first], name, base)
        yield from first
        yield from images
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from None


def _of_item(item: lists.Item, base: bytes, name: str, anyway: bool) -> SourceImage:
    location = entries.understood(item.location, base, name, anyway)
    if manifest.is_url(location):
        uri = manifest.quoted(location) if item.is_uri else manifest.url_uri(location)
        file, is_relative = manifest.as_text(location), False
    else:
        path = manifest.normalised(location)
        uri = manifest.file_uri(manifest.absolute(path, base))
        file, is_relative = manifest.as_text(path), not path.startswith(b"/")
    if item.file is not None:
        path = manifest.as_bytes(item.file)
        if not manifest.is_url(path) and uri.startswith("file://"):  # of a key or an address, `//` is a part
            path = manifest.normalised(path)
        file, is_relative = manifest.as_text(path), not (path.startswith(b"/") or manifest.is_url(path))
    return SourceImage(ManifestLine(file=file, uri=uri, meta=item.meta), is_relative)


class Seen:
    """A set of names, asked and filled in batches: exact to 128 bits, at 16 bytes a name, for lists of many millions.

    It keeps digests in sorted runs.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.bytes_]] = []

    def add(self, names: Sequence[bytes]) -> list[bool]:
        """For each name whether it is new, those before it in `names` included; then all of them are known."""
        digests = np.frombuffer(b"".join([blake2b(name, digest_size=16).digest() for name in names]), dtype="S16")
        fresh, first = np.unique(digests, return_index=True)
        for run in self._runs:
            index = np.searchsorted(run, fresh)
            is_new = run[np.minimum(index, len(run) - 1)] != fresh
            fresh, first = fresh[is_new], first[is_new]
        if len(fresh):
            self._add_run(fresh)
        new = np.zeros(len(names), dtype=bool)
        new[first] = True
        flags: list[bool] = new.tolist()
        return flags

    def _add_run(self, run: NDArray[np.bytes_]) -> None:
        while self._runs and len(self._runs[-1]) <= len(run) and 2 * len(run) <= MOST_RUN:
            run = np.sort(np.concatenate((self._runs.pop(), run)))
        self._runs.append(run)
