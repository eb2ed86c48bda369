"""A record of `detections` as whoever listens sees it: what is asked of it, and the event that it becomes. Pure."""

from typing import NamedTuple

import msgspec

from trapstream.core import messages
from trapstream.core.errors import BadMessage
from trapstream.core.messages import ResultHead


class Record(NamedTuple):
    """What is used of a Kafka record."""

    offset: int
    time: float
    """When the image was answered: seconds since 1970, as the record says."""
    value: bytes


class Found(msgspec.Struct, frozen=True):
    """One detection of an entry."""

    category: str
    conf: float


class _Entry(msgspec.Struct, frozen=True):
    file: str
    meta: str | None = None
    detections: list[Found] | None = None


class _Facts(msgspec.Struct, frozen=True):
    camera: str | None = None
    serial: str | None = None


class Result(NamedTuple):
    """An image's answer."""

    offset: int
    time: float
    job: str
    seq: int
    outcome: str
    file: str
    camera: str | None
    """As its sender names it, else the camera's own serial number, else the folder of its name."""
    found: tuple[Found, ...]
    entry: msgspec.Raw

    @property
    def id(self) -> str:
        """The image's own name, for ever."""
        return f"{self.job}/{self.seq}"


class _Shown(msgspec.Struct, frozen=True):
    id: str
    job: str
    seq: int
    file: str
    camera: str | None
    outcome: str
    time: float
    result: msgspec.Raw


_entries = msgspec.json.Decoder(_Entry)
_facts = msgspec.json.Decoder(_Facts)
_encoder = msgspec.json.Encoder()


def read(record: Record) -> Result:
    """The answer in a record. BadMessage for one that cannot be read: the aggregator parks it."""
    head = messages.decode(record.value, ResultHead)
    try:
        entry = _entries.decode(head.entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"the entry cannot be read: {error}") from None
    return Result(
        offset=record.offset,
        time=record.time,
        job=head.job,
        seq=head.seq,
        outcome=head.outcome.value,
        file=entry.file,
        camera=_camera(entry),
        found=tuple(entry.detections or ()),
        entry=head.entry,
    )


def shown(result: Result) -> bytes:
    """The event's content: one JSON object on one line."""
    data = _encoder.encode(
        _Shown(
            id=result.id,
            job=result.job,
            seq=result.seq,
            file=result.file,
            camera=result.camera,
            outcome=result.outcome,
            time=result.time,
            result=result.entry,
        )
    )
    # A line break in JSON is blank, and would end the event's line.
    return msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data


def _camera(entry: _Entry) -> str | None:
    if entry.meta is not None:
        try:
            facts = _facts.decode(entry.meta)
        except (msgspec.DecodeError, RecursionError):
            facts = _Facts()  # of a bulk job: whatever its owner wrote
        if facts.camera or facts.serial:
            return facts.camera or facts.serial
    return entry.file.rpartition("/")[0] or None
