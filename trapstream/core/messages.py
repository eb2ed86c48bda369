"""The wire contract: every value that crosses Kafka, in one file. Pure.

Values are JSON objects with a version field `v`. A reader refuses a version that it does not know and ignores
fields that it does not know. msgspec checks the types while it reads; nothing here does I/O.
"""

import re
import secrets
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import msgspec

from trapstream.core.errors import BadMessage

JOB_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z"
MOST_IMAGES = 100_000_000
"""The largest manifest. A `seq` beyond it is a bad message: the fold keeps one bit for each."""

MOST_LETTER_BYTES = 48 * 1024
"""What a dead letter keeps of its message: 64 KiB of base64."""

JobId = Annotated[str, msgspec.Meta(pattern=JOB_PATTERN)]
"""Names files and keys, so it can hold no slash and no dot."""
Seq = Annotated[int, msgspec.Meta(ge=0, lt=MOST_IMAGES)]


Weight = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Lane(StrEnum):
    """How an image travels."""

    LIVE = "live"
    """A camera waits for the answer."""
    BULK = "bulk"
    """An archive: throughput counts."""


class Outcome(StrEnum):
    """What became of an image. Every published image ends as exactly one of these."""

    DETECTED = "detected"
    """At least one detection at or above the model's typical threshold."""
    EMPTY = "empty"
    """Processed; nothing at or above that threshold."""
    FAILED = "failed"
    """No answer could be had; the entry says why."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The base of all wire values."""

    v: Literal[1] = 1
    """Version of the contract."""


class ImageRef(Message, frozen=True, kw_only=True):
    """One image to do. Key: none. Topics: images.live, images.bulk."""

    job: JobId
    """The job that it belongs to."""
    seq: Seq
    """Its number in the job's manifest, from 0. (job, seq) names an image for ever."""
    file: str
    """The name in the result."""
    uri: str
    """Where to read it: file://, http(s)://, s3://, gs:// or az://; percent-encoded."""
    meta: str | None = None
    """A string passed through to the entry, untouched; of a live image its facts, as a JSON object."""
    captured: str | msgspec.UnsetType = msgspec.UNSET
    """Of a live image: when it was taken, as its sender says, YYYY:MM:DD HH:MM:SS. Its EXIF data goes before it."""
    arrived: float | msgspec.UnsetType = msgspec.UNSET
    """Of a live image: when it came in, seconds since 1970. It tells latency, and stands in no result."""


class StageTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long one image spent in each stage, in milliseconds: together all until its answer was sent."""

    wait: float = 0.0
    """From its arrival to its fetch. A live image arrives at the door, another one in Kafka."""
    fetch: float = 0.0
    queue: float = 0.0
    """In the consumer, for a decoder and for its turn at the detector."""
    decode: float = 0.0
    """Of the images that are decoded together."""
    detect: float = 0.0
    """From the request to its answer, with the time that it waits in the server."""


class ImageResult(Message, frozen=True, kw_only=True):
    """One image's answer. Key: job. Topic: detections. The first in the log for (job, seq) counts."""

    job: JobId
    seq: Seq
    outcome: Outcome
    reason: str | None
    """Why it failed, null otherwise: a Reason, or the text of one that only a later version knows."""
    entry: msgspec.Raw
    """The image's entry in the result file, as JSON, rounded already: its bytes go to the file as they are."""
    model: str
    """name@version that answered."""
    ms: StageTimes


class ResultHead(msgspec.Struct, frozen=True, gc=False):
    """What the fold needs of an ImageResult: the rest is skipped, not parsed."""

    v: Literal[1]
    job: str
    """Not yet held against JOB_PATTERN: a regular expression a message would halve the fold's speed, so the reader
    checks each new name once."""
    seq: Seq
    outcome: Outcome
    reason: str | None
    entry: msgspec.Raw


class TimedHead(ResultHead, frozen=True, gc=False):
    """The same for a reader that also needs the time that each stage took."""

    ms: msgspec.Raw
    """StageTimes."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a job must know of its model, so that consumer and aggregator need no model store."""

    name: str
    version: str
    sha256: str
    """Of the ONNX file."""
    image_size: int
    """Pixels of the longest side after the letterbox."""
    stride: int
    """The padded sides are multiples of this."""
    fixed: tuple[int, int] | None = None
    """Height and width of the only input that the model takes; null where the minimum rectangle is letterboxed."""
    stretch: bool = False
    """The image is stretched to `fixed`, not letterboxed."""
    classes: dict[str, str]
    """Category id to name, as in the result file: {"1": "animal", ...}. Class index i of the model is id i + 1."""
    typical_threshold: float
    """Confidence from which the model's makers call it a detection. Splits detected from empty."""
    conservative_threshold: float

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which results of a job a stream or a webhook sends. Without any value: all of them."""

    categories: tuple[str, ...] = ()
    """Names or ids; none means any."""
    confidence: float | None = None
    """Lowest confidence of a detection that counts; null: from the model's typical threshold on."""
    cameras: tuple[str, ...] = ()
    """None means any."""
    cooldown: float = 0.0
    """Seconds in which one event of a camera is sent."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a job's results are sent to."""

    url: str
    """May hold a secret: it stands in no log."""
    event_filter: EventFilter = msgspec.field(name="wish", default=EventFilter())


class JobSpec(Message, frozen=True, kw_only=True):
    """A job as its owner wants it. Key: job. Topic: jobs (compacted: the newest counts)."""

    job: JobId
    name: str
    """For people; need not be unique."""
    lane: Lane
    model: ModelInfo
    threshold: float
    """Lowest confidence kept in the file."""
    images: int
    """Entries in the stored manifest."""
    manifest_sha256: str
    """Digest of the stored manifest's bytes."""
    created: float
    """Seconds since 1970, at submission."""
    total: int | None = None
    """Set when the job is sealed: every reference has been acknowledged."""
    cancelled: bool = False
    failed: str | None = None
    """Why it cannot be published, in one line."""
    series: str | None = None
    """The live series that it is a part of: images are added until it is sealed, and only then it has a manifest."""
    webhooks: tuple[Webhook, ...] = ()
    """Who is told of its results."""
    weight: Weight = 1
    """Its part of the bulk lane, beside the other jobs that are published."""
    left_out: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """How many files of folders and buckets are not in its manifest, by kind; unset where there are none."""


class JobState(StrEnum):
    """Where a job is. `trapstream.core.states` has the legal moves."""

    OPEN = "open"
    SEALED = "sealed"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a job: published = detected + empty + failed once it is complete."""

    detected: int = 0
    empty: int = 0
    failed: dict[str, int] = {}
    """By reason."""

    @property
    def done(self) -> int:
        """Images with an entry."""
        return self.detected + self.empty + sum(self.failed.values())


class JobStatus(Message, frozen=True, kw_only=True):
    """How far a job is. Key: job. Topic: job-status (compacted)."""

    job: JobId
    state: JobState
    total: int | None
    """Known once all references are published."""
    images: int | None = None
    """How many it will have; None while a live job is open."""
    counts: Counts
    repeated: int = 0
    """Results that came a second time and were not counted."""
    rate: float = 0.0
    """Images a second, over the last seconds."""
    finish: float | None = None
    """Predicted end, seconds since 1970."""
    updated: float = 0.0
    """Seconds since 1970."""
    location: str | None = None
    """Where the result file is."""
    sha256: str | None = None
    """Of the result file."""
    cut: int | None = None
    """Of a job that was stopped: results from this offset of its partition of `detections` on do not count."""
    message: str | None = None
    """One line for the user when something is wrong."""


class DeadLetter(Message, frozen=True, kw_only=True):
    """A message that could not be read. Key: none. Topic: dead-letters."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: str
    """The message's bytes in base64, cut at 64 KiB of it."""
    size: int | None = None
    """Bytes of the whole message."""


M = TypeVar("M", ImageRef, ImageResult, ResultHead, TimedHead, JobSpec, JobStatus, DeadLetter)

_encoder = msgspec.json.Encoder()
_decoders: dict[type, msgspec.json.Decoder[object]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (ImageRef, ImageResult, ResultHead, TimedHead, JobSpec, JobStatus, DeadLetter)
}


def encode(message: object) -> bytes:
    """JSON bytes of a wire value."""
    return _encoder.encode(message)


def decode(value: bytes | None, kind: type[M]) -> M:
    """The wire value in `value`. BadMessage, with the reason, for anything else."""
    if value is None:
        raise BadMessage("the message has no value")
    try:
        return _decoders[kind].decode(value)  # type: ignore[return-value]
    except msgspec.DecodeError as error:  # ValidationError is a DecodeError
        raise BadMessage(str(error)) from None
    except UnicodeDecodeError as error:
        raise BadMessage(f"not UTF-8: {error.reason}") from None
    except RecursionError:
        raise BadMessage("nested too deeply") from None


def new_job_id(name: str) -> str:
    """A fresh id that begins with what of `name` may stand in one."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:48] or "job"
    return f"{slug}-{secrets.token_hex(4)}"
