"""What a bucket's notification says: S3's events in MinIO's shape and in AWS's. It does no I/O of its own.

MinIO (and RustFS, Ceph) write `s3:ObjectCreated:Put`, AWS `ObjectCreated:Put`. The object's key is encoded as a query
in both, so a `+` is a space.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from producer.live.series import Arrival
from trapstream.core.errors import BadMessage
from trapstream.jobs.manifest import as_text, is_image_name, url_uri
from trapstream.jobs.names import harmless

MOST_RECORDS = 1000
"""Of one notification; S3's own have one."""
_MOST_KEY = 4096


class Outcome(StrEnum):
    """What became of a record."""

    CREATED = "created"
    OTHER_EVENT = "other event"
    """An object that was removed, or a test."""
    OTHER_PLACE = "other place"
    """A bucket or prefix that no series is for."""
    NO_IMAGE = "no image"
    """Its name does not end as an image's."""


class _Object(msgspec.Struct, frozen=True):
    key: str
    eTag: str = ""  # noqa: N815 - S3's own names
    versionId: str = ""  # noqa: N815
    sequencer: str = ""


class _Bucket(msgspec.Struct, frozen=True):
    name: str


class _S3(msgspec.Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct, frozen=True):
    eventName: str  # noqa: N815
    s3: _S3 | None = None


class _Notice(msgspec.Struct, frozen=True):
    Records: list[_Record] | None = None
    Event: str | None = None
    """Of S3's test message."""


class Noticed(NamedTuple):
    """What a record says."""

    outcome: Outcome
    arrival: Arrival | None = None


_decoder = msgspec.json.Decoder(_Notice)


def read(value: bytes | None, series: Mapping[str, str]) -> list[Noticed]:
    """The records of a notification; `series` maps bucket or bucket/prefix to a series, the longest one counts.

    BadMessage with the reason for what is none.
    """
    try:
        notice = _decoder.decode(value or b"")
    except msgspec.DecodeError as error:
        raise BadMessage(f"no notification of a bucket: {error}") from None
    except UnicodeDecodeError as error:
        raise BadMessage(f"no notification of a bucket: not UTF-8: {error.reason}") from None
    except RecursionError:
        raise BadMessage("no notification of a bucket: nested too deeply") from None
    if notice.Records is None:
        if notice.Event is not None:
            return [Noticed(Outcome.OTHER_EVENT)]
        raise BadMessage("no notification of a bucket: it has no Records")
    if len(notice.Records) > MOST_RECORDS:
        raise BadMessage(f"a notification with {len(notice.Records):,} records; {MOST_RECORDS:,} are the most")
    return [_noticed(record, series) for record in notice.Records]


def _noticed(record: _Record, series: Mapping[str, str]) -> Noticed:
    if not record.eventName.removeprefix("s3:").startswith("ObjectCreated:"):
        return Noticed(Outcome.OTHER_EVENT)
    if record.s3 is None:
        raise BadMessage("a record of a created object that does not say which")
    bucket, thing = record.s3.bucket.name, record.s3.object
    key = unquote_to_bytes(thing.key.replace("+", " "))
    if not bucket or "/" in bucket or not key or len(key) > _MOST_KEY:
        raise BadMessage("a record whose bucket or key cannot be one")
    name = series_of(bucket, as_text(key), series)
    if name is None:
        return Noticed(Outcome.OTHER_PLACE)
    if not is_image_name(key):
        return Noticed(Outcome.NO_IMAGE)
    # The same event comes again and again; the same name with other content is another image.
    mark = thing.eTag or thing.versionId or thing.sequencer
    uri = url_uri(b"s3://" + bucket.encode() + b"/" + key)
    file = harmless(as_text(key)) or "image"
    return Noticed(Outcome.CREATED, Arrival(name, file, uri, f"{uri}@{mark}"))


def series_of(bucket: str, key: str, series: Mapping[str, str]) -> str | None:
    """The series of an object: that of the longest bucket/prefix which its place begins with."""
    place = f"{bucket}/{key}"
    fitting = [prefix for prefix in series if place.startswith(prefix if "/" in prefix else f"{prefix}/")]
    return series[max(fitting, key=len)] if fitting else None
