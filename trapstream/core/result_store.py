"""The result store on disk: where a job's files are, and how a file comes to be whole or absent."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from trapstream.core.messages import ImageRef


class ManifestLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a stored manifest: JSON, in the order of `seq`, from 0."""

    file: str
    """The name in the result; no two lines share one."""
    uri: str
    meta: str | None = None
    captured: str | None = None
    """Of a live image: when it was taken, as its sender says."""
    arrived: float | None = None
    """Of a live image: when it came in, seconds since 1970."""
    key: str | None = None
    """Of a live image: what tells it from all others of its series."""


def result_path(results: Path, job: str) -> Path:
    """The job's result file."""
    return results / f"{job}.json"


def manifest_path(results: Path, job: str) -> Path:
    """The job's stored manifest, one ManifestLine a line."""
    return results / f"{job}.manifest.jsonl"


def incoming_folder(results: Path) -> Path:
    """Where uploaded images lie, named by their content."""
    return results / "incoming"


def live_folder(results: Path) -> Path:
    """Where it is written down which live jobs are open."""
    return results / "live"


def read_manifest(path: Path) -> Iterator[ManifestLine]:
    """The lines of a stored manifest, as a stream. msgspec.DecodeError if one is damaged."""
    with path.open("rb") as lines:
        yield from map(decode_line, lines)


decode_line = msgspec.json.Decoder(ManifestLine).decode
"""One line of a stored manifest, read. msgspec.DecodeError if it is damaged."""


def reference(job: str, seq: int, line: ManifestLine) -> ImageRef:
    """The reference that an image is published by."""
    return ImageRef(
        job=job,
        seq=seq,
        file=line.file,
        uri=line.uri,
        meta=line.meta,
        captured=line.captured or msgspec.UNSET,
        arrived=line.arrived or msgspec.UNSET,
    )


class HashingFile:
    """A file being written, with the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Appends `data`."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of everything written so far."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[HashingFile]:
    """A file that appears whole, or not at all: temporary name, fsync, rename, fsync of the folder.

    An exception inside leaves what was at `path` before. OSError as the disk gives it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One writer a process; another process that writes the same file writes the same bytes under its own name.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield HashingFile(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
