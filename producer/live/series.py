"""A live series: its jobs, the open one last, and what they hold already. Its state is one small file a job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from producer.live.journal import Journal
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
    """Kafka has its total. It is kept for those who send an image again."""


class Note(msgspec.Struct, frozen=True):
    """What is written down of a live job."""

    spec: JobSpec
    label: str
    """Its period."""
    stage: Stage


class Arrival(NamedTuple):
    """An image on its way in. Its bytes are in their place already."""

    series: str
    file: str
    """A harmless name; it becomes unique."""
    uri: str
    key: str
    """What tells it from all others of its series."""
    meta: str | None = None
    captured: str | None = None
    arrived: float | None = None
    """Seconds since 1970."""


class Placed(NamedTuple):
    """Where an image stands."""

    job: str
    seq: int
    file: str
    repeated: bool
    """It was there before."""


@dataclass
class LiveJob:
    """One job of a series, and where each of its images stands."""

    note: Note
    journal: Journal
    places: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Key to seq and name."""
    files: set[str] = field(default_factory=set)
    count: int = 0
    """Its images, those included that are being written."""
    sent: int = 0
    """Lines that Kafka is known to have."""
    offset: int = 0
    """Of the first line that it is not known to have."""
    announced: bool = False
    """Its spec was sent by this process, as it is."""

    @property
    def id(self) -> str:
        """The job's id."""
        return self.note.spec.job

    def place(self, arrival: Arrival) -> tuple[Placed, ManifestLine | None]:
        """Where the image stands, and the line to write if it is new."""
        known = self.places.get(arrival.key)
        if known is not None:
            return Placed(self.id, *known, True), None
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
        return Placed(self.id, seq, file, False), line

    def take_back(self, lines: Sequence[ManifestLine]) -> None:
        """Forgets lines, the newest, that could not be written."""
        for line in lines:
            del self.places[line.key or ""]
            self.files.discard(line.file)
        self.count -= len(lines)

    def load(self) -> int:
        """Reads the journal; how many bytes of it were cut off. OSError."""
        self.places.clear()
        self.files.clear()
        self.count = 0
        return self.journal.load(lambda line: self._add(line.key or line.file, line.file))

    def _add(self, key: str, file: str) -> None:
        self.places.setdefault(key, (self.count, file))
        self.files.add(file)
        self.count += 1


def note_path(results: Path, job: str) -> Path:
    """Where a live job is noted."""
    return live_folder(results) / f"{job}.json"


def write_note(results: Path, note: Note) -> None:
    """Writes a job's note, whole and for good. OSError."""
    with whole_file(note_path(results, note.spec.job)) as file:
        file.write(messages.encode(note))


def read_notes(results: Path) -> list[Note]:
    """All notes, the oldest job first. msgspec.DecodeError or OSError for one that cannot be read."""
    paths = live_folder(results).glob("*.json")
    found = [msgspec.json.decode(path.read_bytes(), type=Note) for path in paths]
    return sorted(found, key=lambda note: note.spec.created)


def sealed(job: LiveJob) -> Note:
    """The note of a job that gets no more images: its spec has its total and the digest of its manifest."""
    lines = job.journal.lines
    spec = replace(job.note.spec, images=lines, total=lines, manifest_sha256=job.journal.sha256)
    return replace(job.note, spec=spec, stage=Stage.SEALING)


def opened(results: Path, note: Note) -> LiveJob:
    """A job with its journal, which is read. OSError."""
    job = LiveJob(note, Journal(manifest_path(results, note.spec.job)))
    job.load()
    return job
