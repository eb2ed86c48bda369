"""Notifications of buckets, read from a Kafka topic: each new object becomes a live image.

They are S3's events, in MinIO's shape or in AWS's. MinIO (and RustFS, Ceph) write `s3:ObjectCreated:Put`, AWS
`ObjectCreated:Put`. The object's key is encoded as a query in both, so a `+` is a space.
"""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from urllib.parse import unquote_to_bytes

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from producer.live.live_job import Arrival
from producer.live.series_journal import Refused, SeriesJournal
from trapstream.core import kafka, letters, log, metrics, retry
from trapstream.core.errors import BadMessage, Retryable
from trapstream.core.outbox import Outbox
from trapstream.core.settings import ProducerSettings
from trapstream.jobs.kinds import is_image_name, kept_out
from trapstream.jobs.manifest import as_text, is_exact_key, url_uri
from trapstream.jobs.names import harmless

MOST_RECORDS = 1000
"""Of one notification; S3's own have one."""
_GROUP = "producer-bucket-events"
_MOST = 200
"""Notifications taken together."""
_MOST_KEY = 4096
_REST_MS = 1000
"""Between two looks at a backlog that is too deep."""


async def run(topic: str, settings: ProducerSettings, journal: SeriesJournal, outbox: Outbox) -> None:
    """Reads the topic until cancelled. An offset is committed only once the journals have the images before it."""
    consumer = await kafka.group_consumer(settings.kafka, _GROUP, settings.member, topic)
    try:
        while True:
            try:
                if journal.unpublished() >= settings.upload_backlog:
                    await _rest(consumer)
                    continue
                for part, records in (await consumer.getmany(timeout_ms=500, max_records=_MOST)).items():
                    await _take(records, settings, journal, outbox)
                    await _commit(consumer, part, records[-1].offset + 1)
            except KafkaError as error:
                log.get_logger().warning("waiting", on="kafka", error=repr(error))
                await asyncio.sleep(1.0)
    finally:
        await consumer.stop()


async def _take(
    records: Sequence[ConsumerRecord], settings: ProducerSettings, journal: SeriesJournal, outbox: Outbox
) -> None:
    arrivals: list[Arrival] = []
    for record in records:
        try:
            images = read(record.value, settings.bucket_series)
        except BadMessage as error:
            await letters.park(outbox, record, str(error))
            continue
        for image in images:
            if isinstance(image, Arrival):
                arrivals.append(image._replace(arrived=record.timestamp / 1000))
            else:
                metrics.ARRIVALS.labels("bucket", str(image)).inc()
    if not arrivals:
        return

    async def accept() -> None:
        try:
            for each in await journal.accept(arrivals):
                metrics.ARRIVALS.labels("bucket", "repeated" if each.repeated else "accepted").inc()
        except Refused as error:
            raise Retryable(str(error)) from error

    await retry.until_back(accept, "result store")


async def _rest(consumer: kafka.Consumer) -> None:
    """Reads nothing for a while, since Kafka keeps it well, and stays in the group."""
    held = consumer.assignment()
    consumer.pause(*held)
    await consumer.getmany(timeout_ms=_REST_MS)
    consumer.resume(*(held & consumer.assignment()))


async def _commit(consumer: kafka.Consumer, part: TopicPartition, offset: int) -> None:
    try:
        async with asyncio.timeout(5.0):  # aiokafka would try for ever
            await consumer.commit({part: offset})
    except (KafkaError, TimeoutError) as error:  # the next owner reads it again, and its images are known already
        log.get_logger().warning("commit put off", topic="bucket events", error=repr(error))


class PassedOver(StrEnum):
    """Why a record becomes no image."""

    OTHER_EVENT = "other event"
    """An object that was removed, or a test."""
    OTHER_PLACE = "other place"
    """A bucket or prefix that no series is for."""
    NO_IMAGE = "no image"
    """Its name does not end as an image's."""
    LEFT_OUT = "left out"
    """It is hidden, or lies in a recycle bin, a snapshot or the like."""


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


_decoder = msgspec.json.Decoder(_Notice)


def read(value: bytes | None, series: Mapping[str, str]) -> list[Arrival | PassedOver]:
    """The images of a notification; `series` maps bucket or bucket/prefix to a series, the longest one counts.

    BadMessage, with the reason, for a value that is no notification.
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
            return [PassedOver.OTHER_EVENT]
        raise BadMessage("no notification of a bucket: it has no Records")
    if len(notice.Records) > MOST_RECORDS:
        raise BadMessage(f"a notification with {len(notice.Records):,} records; {MOST_RECORDS:,} are the most")
    return [_image(record, series) for record in notice.Records]


def _image(record: _Record, series: Mapping[str, str]) -> Arrival | PassedOver:
    if not record.eventName.removeprefix("s3:").startswith("ObjectCreated:"):
        return PassedOver.OTHER_EVENT
    if record.s3 is None:
        raise BadMessage("a record of a created object that does not say which")
    bucket, thing = record.s3.bucket.name, record.s3.object
    key = unquote_to_bytes(thing.key.replace("+", " "))
    if not bucket or "/" in bucket or not key or len(key) > _MOST_KEY:
        raise BadMessage("a record whose bucket or key cannot be one")
    name = series_of(bucket, as_text(key), series)
    if name is None:
        return PassedOver.OTHER_PLACE
    if not is_image_name(key):
        return PassedOver.NO_IMAGE
    if any(map(kept_out, key.split(b"/"))):
        return PassedOver.LEFT_OUT
    # The same event comes again and again; the same name with other content is another image.
    version = thing.eTag or thing.versionId or thing.sequencer
    uri = url_uri(b"s3://" + bucket.encode() + b"/" + key)
    # A key that cannot be read fails under its address, since a shorter name would be another object's.
    file = (harmless(as_text(key)) or "image") if is_exact_key(as_text(key)) else uri
    return Arrival(name, file, uri, f"{uri}@{version}")


def series_of(bucket: str, key: str, series: Mapping[str, str]) -> str | None:
    """The series of an object: that of the longest bucket/prefix which its address begins with."""
    address = f"{bucket}/{key}"
    fitting = [prefix for prefix in series if address.startswith(prefix if "/" in prefix else f"{prefix}/")]
    return series[max(fitting, key=len)] if fitting else None
