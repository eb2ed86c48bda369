"""One job of a live series: its images, its journal, and its record, which is one small file."""

import hashlib
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from producer.cursor import Cursor
from trapstream.core import faults, messages
from trapstream.core.messages import JobSpec
from trapstream.core.result_store import (
    ManifestLine,
    decode_line,
    live_folder,
    manifest_path,
    sync_folder,
    whole_file,
)
from trapstream.jobs import names


class Stage(StrEnum):
    """How far a live job is, as it is written down."""

    OPEN = "open"
    """Images are added."""
    SEALING = "sealing"
    """No image is added any more; its total may not be in Kafka yet."""
    SEALED = "sealed"
    """Kafka has its total. It is kept for senders who send an image again."""


class JobRecord(msgspec.Struct, frozen=True):
    """The state of a live job as it is on the disk."""

    spec: JobSpec
    label: str
    """Its period."""
    stage: Stage


class Arrival(NamedTuple):
    """An image on its way in. Its bytes are in the incoming area already."""

    series: str
    file: str
    """A harmless name; it becomes unique."""
    uri: str
    key: str
    """Tells it from all others of its series."""
    meta: str | None = None
    captured: str | None = None
    arrived: float | None = None
    """Seconds since 1970."""


class Accepted(NamedTuple):
    """An image that a job has."""

    job: str
    seq: int
    file: str
    repeated: bool
    """It was there before."""


class JournalFile:
    """A job's manifest while it grows: a line that was appended survives whatever comes. One writer.

    `size` bytes of it and `lines` lines are on the disk for good. It blocks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.lines = 0
        self._digest = hashlib.sha256()
        self._torn = False

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of its bytes."""
        return self._digest.hexdigest()

    def load(self, take: Callable[[ManifestLine], None]) -> None:
        """Reads what is there, gives each line to `take`, and cuts off the part behind the last whole line.

        A death left it there. It was never acknowledged to a sender, since the sync that goes before an answer covers
        all lines before it. OSError as the disk gives it.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                try:
                    entry = decode_line(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    break
                if not line.endswith(b"\n"):
                    break
                take(entry)
                self._count([line])
        self._torn = self.path.stat().st_size > self.size
        self._mend()
        # The bytes that a killed process wrote may be in the system's memory only: they are synced before they count.
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(self.path.parent)

    def append(self, entries: Sequence[ManifestLine]) -> None:
        """Adds lines; they are on the disk for good when this returns. OSError: none of them counts."""
        new = [messages.encode(entry) + b"\n" for entry in entries]
        whole = b"".join(new)
        self._mend()
        self._torn = True  # until it is known to be whole
        first = self.lines == 0
        try:
            with self.path.open("ab") as file:
                file.write(whole[: len(whole) // 2])
                file.flush()
                faults.reach("arrive.within-3")
                file.write(whole[len(whole) // 2 :])
                file.flush()
                os.fsync(file.fileno())
            if first:
                sync_folder(self.path.parent)
        except OSError:
            self._mend()
            raise
        self._torn = False
        self._count(new)

    def _count(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._digest.update(line)
            self.size += len(line)
            self.lines += 1

    def _mend(self) -> None:
        """Cuts off the bytes behind the last line that counts. OSError: the next write tries again."""
        if self._torn and self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(self.size)
                os.fsync(file.fileno())
        self._torn = False


class LiveJob:
    """One job of a series, and which images it has. Reads its journal when it is made: OSError."""

    def __init__(self, results: Path, record: JobRecord) -> None:
        self.record = record
        self.images: dict[str, tuple[int, str]] = {}
        """Key to seq and name."""
        self.files: set[str] = set()
        self.count = 0
        """Its images, those included that are being written."""
        self.published = Cursor()
        """The first line that Kafka is not known to have."""
        self.announced = False
        """Its spec was sent by this process, as it is."""
        self.journal = JournalFile(manifest_path(results, self.id))
        self.journal.load(lambda line: self._add(line.key or line.file, line.file))

    @property
    def id(self) -> str:
        """The job's id."""
        return self.record.spec.job

    @property
    def series(self) -> str:
        """The series that it is a part of."""
        return self.record.spec.series or ""

    @property
    def unpublished(self) -> int:
        """Lines on disk that Kafka is not known to have."""
        return self.journal.lines - self.published.seq

    def add(self, arrival: Arrival) -> tuple[Accepted, ManifestLine | None]:
        """Gives the image its number and name, and the line to write if it is new."""
        known = self.images.get(arrival.key)
        if known is not None:
            return Accepted(self.id, *known, True), None
        seq, file = self.count, names.unique(arrival.file, self.files)
        self._add(arrival.key, file)
        line = ManifestLine(
            file=file,
            uri=arrival.uri,
            meta=arrival.meta,
            captured=arrival.captured,
            arrived=arrival.arrived,
            key=arrival.key,
        )
        return Accepted(self.id, seq, file, False), line

    def take_back(self, lines: Sequence[ManifestLine]) -> None:
        """Forgets lines, the newest, that were not written."""
        for line in lines:
            del self.images[line.key or ""]
            self.files.discard(line.file)
        self.count -= len(lines)

    def _add(self, key: str, file: str) -> None:
        self.images.setdefault(key, (self.count, file))
        self.files.add(file)
        self.count += 1


def record_path(results: Path, job: str) -> Path:
    """Where a live job's record is."""
    return live_folder(results) / f"{job}.json"


def write_record(results: Path, record: JobRecord) -> None:
    """Writes a job's record, whole and for good. OSError."""
    with whole_file(record_path(results, record.spec.job)) as file:
        file.write(messages.encode(record))


def read_records(results: Path) -> list[JobRecord]:
    """All records, the oldest job first. msgspec.DecodeError or OSError for one that cannot be read."""
    paths = live_folder(results).glob("*.json")
    found = [msgspec.json.decode(path.read_bytes(), type=JobRecord) for path in paths]
    return sorted(found, key=lambda record: record.spec.created)


def sealed(job: LiveJob) -> JobRecord:
    """The record of a job that gets no more images: its spec has its total and the digest of its manifest."""
    lines = job.journal.lines
    spec = replace(job.record.spec, images=lines, total=lines, manifest_sha256=job.journal.sha256)
    return replace(job.record, spec=spec, stage=Stage.SEALING)
