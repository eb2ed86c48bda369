"""From a record of `detections` to an event: what a filter asks of it, its JSON, its bytes in a stream. Pure.

Streams are server-sent events, by the HTML standard, section 9.2.
"""

from typing import NamedTuple

import msgspec

from trapstream.core import json_codec, messages
from trapstream.core.errors import BadMessage
from trapstream.core.messages import Counts, JobState, JobStatus, ResultHead

END_ID = "end"
"""The id of the event with which a job's stream ends."""
HELLO = b": results as they come\nretry: 2000\n\n"
"""What a stream begins with: the milliseconds after which a browser reconnects."""


class Record(NamedTuple):
    """What is used of a Kafka record."""

    offset: int
    time: float
    """When the image was answered: seconds since 1970, as the record says."""
    value: bytes


class Detection(msgspec.Struct, frozen=True):
    """One detection of an entry."""

    category: str
    conf: float


class ResultData(msgspec.Struct, frozen=True):
    """The data of a `result` event, which is the body of a webhook's request too."""

    id: str
    """The image's own id, JOB/SEQ, for ever."""
    job: str
    seq: int
    file: str
    camera: str | None
    """As its sender names it, else the camera's own serial number, else the folder of the file's name."""
    outcome: str
    time: float
    result: msgspec.Raw
    """The image's entry, as it stands in the result file."""


class Result(NamedTuple):
    """An image's result."""

    offset: int
    detections: tuple[Detection, ...]
    data: ResultData


class _Entry(msgspec.Struct, frozen=True):
    file: str
    meta: str | None = None
    detections: list[Detection] | None = None


class _Meta(msgspec.Struct, frozen=True):
    camera: str | None = None
    serial: str | None = None


class _EndData(msgspec.Struct, frozen=True):
    job: str
    state: JobState
    total: int | None
    counts: Counts


_entries = msgspec.json.Decoder(_Entry)
_metas = msgspec.json.Decoder(_Meta)
_encoder = msgspec.json.Encoder()


def read(record: Record) -> Result:
    """The result in a record. BadMessage for one that cannot be read: the aggregator parks it."""
    head = messages.decode(record.value, ResultHead)
    try:
        entry = _entries.decode(head.entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"the entry cannot be read: {error}") from None
    data = ResultData(
        id=f"{head.job}/{head.seq}",
        job=head.job,
        seq=head.seq,
        file=entry.file,
        camera=_camera(entry),
        outcome=head.outcome.value,
        time=record.time,
        result=head.entry,
    )
    return Result(record.offset, tuple(entry.detections or ()), data)


def json_line(data: ResultData) -> bytes:
    """One JSON object on one line."""
    line = _encoder.encode(data)
    # The entry is copied as it is. A line break in it is blank in JSON, and would end the event's line.
    return msgspec.json.format(line, indent=-1) if b"\n" in line or b"\r" in line else line


def result(data: ResultData, event_id: str | None) -> bytes:
    """The event of a result."""
    return _event("result", json_line(data), event_id)


def end(status: JobStatus) -> bytes:
    """The last event of a job's stream: how the job ended."""
    return _event("end", _end_data(status), END_ID)


def job_end(status: JobStatus, event_id: str | None) -> bytes:
    """The event after a job in a series' stream, which goes on: how the job ended."""
    return _event("job", _end_data(status), event_id)


def gap(job: str, why: str) -> bytes:
    """The event that says that results may be missing before the next one."""
    return _event("gap", json_codec.encode({"job": job, "error": why}))


def refused(why: str) -> bytes:
    """The last event of a stream that may not go on."""
    return _event("refused", json_codec.encode({"error": why}))


def heartbeat(event_id: str | None) -> bytes:
    """A comment, and how far the log was read: a client that reconnects need not begin further back."""
    id_line = f"id: {event_id}\n" if event_id is not None else ""
    return f": still here\n{id_line}\n".encode()


def _camera(entry: _Entry) -> str | None:
    if entry.meta is not None:
        try:
            meta = _metas.decode(entry.meta)
        except (msgspec.DecodeError, RecursionError):
            meta = _Meta()  # of a bulk job: whatever its owner wrote
        if meta.camera or meta.serial:
            return meta.camera or meta.serial
    return entry.file.rpartition("/")[0] or None


def _end_data(status: JobStatus) -> bytes:
    return _encoder.encode(_EndData(status.job, status.state, status.total, status.counts))


def _event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    id_line = f"id: {event_id}\n" if event_id is not None else ""
    return f"event: {name}\n{id_line}data: ".encode() + data + b"\n\n"
