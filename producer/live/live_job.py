"""One job of a live series: the images that it holds, and its record, which is one small file."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from producer.cursor import Cursor
from producer.live.journal_file import JournalFile
from trapstream.core import messages
from trapstream.core.messages import JobSpec
from trapstream.core.result_store import ManifestLine, live_folder, manifest_path, whole_file
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
