"""Notifications of buckets, in the shapes that MinIO and AWS give them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.live.bucket_events import PassedOver, read, series_of
from producer.live.live_job import Arrival
from trapstream.core.errors import BadMessage

SERIES = {"cams": "all", "cams/ridge/": "ridge"}


def minio(key: str, event: str = "s3:ObjectCreated:Put", bucket: str = "cams", **more: Any) -> bytes:
    """As MinIO sends it: the event's name with `s3:`, the key encoded, once more in the open at the top."""
    thing = {"key": key, "size": 123, "eTag": "e1", "contentType": "image/jpeg", "sequencer": "16F", **more}
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventName": event,
        "userIdentity": {"principalId": "minio"},
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"}, "object": thing},
    }
    return json.dumps({"EventName": event, "Key": f"{bucket}/{key}", "Records": [record]}).encode()


def test_minios_shape() -> None:
    """A new object becomes an image of its series, with its address percent-encoded."""
    [image] = read(minio("ridge%2Fnight+1%2Fa%252Bb.jpg"), SERIES)
    assert isinstance(image, Arrival)
    assert image.series == "ridge"
    assert image.uri == "s3://cams/ridge/night%201/a%252Bb.jpg"
    assert image.file == "ridge/night 1/a%2Bb.jpg"


@pytest.mark.parametrize("key", ["/x/A.JPG", "x//A.JPG", "x/./A.JPG", "x/../A.JPG", "x/A%0A.JPG"])
def test_a_key_that_cannot_be_read_keeps_its_name(key: str) -> None:
    """Its image fails under its whole address, and is not taken for the object of a shorter key."""
    [image] = read(minio(key), SERIES)
    assert isinstance(image, Arrival)
    assert image.file == image.uri == f"s3://cams/{key}"


def test_awss_shape() -> None:
    """No `s3:` before the event, the slash as it is, several records, and no name at the top."""
    records = [
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "cams"}, "object": {"key": f"x/{n}.JPG"}}}
        for n in range(3)
    ]
    found = read(json.dumps({"Records": records}).encode(), SERIES)
    assert [each.uri for each in found if isinstance(each, Arrival)] == [f"s3://cams/x/{n}.JPG" for n in range(3)]
    assert {each.series for each in found if isinstance(each, Arrival)} == {"all"}


def test_awss_test_message_is_passed_over() -> None:
    """It comes once when notifications are set up."""
    assert read(b'{"Service":"Amazon S3","Event":"s3:TestEvent"}', SERIES) == [PassedOver.OTHER_EVENT]


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (minio("a.jpg", "s3:ObjectRemoved:Delete"), PassedOver.OTHER_EVENT),
        (minio("a.jpg", bucket="another"), PassedOver.OTHER_PLACE),
        (minio("notes.txt"), PassedOver.NO_IMAGE),
        (minio("%23Recycle/a.jpg"), PassedOver.LEFT_OUT),
        (minio("ridge/.thumb/a.jpg"), PassedOver.LEFT_OUT),
    ],
)
def test_what_is_no_new_image_is_passed_over(value: bytes, outcome: PassedOver) -> None:
    """A removed object, another bucket, another kind of file: no fault of anybody."""
    assert read(value, SERIES) == [outcome]


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"no JSON", b"[]", b"{}", b'{"Records": 3}', b'{"Records":[{}]}', b"\xff", b"[" * 100_000,
        b'{"Records":[{"eventName":"ObjectCreated:Put"}]}', minio(""), minio("a.jpg", bucket="a/b"),
        json.dumps({"Records": [{"eventName": "x"}] * 1001}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_notification_is_told_so(value: bytes | None) -> None:
    """With a reason, for the dead letters."""
    with pytest.raises(BadMessage):
        read(value, SERIES)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_anything_is_read_or_refused(value: bytes) -> None:
    """No message of any shape raises anything but its reason."""
    try:
        read(value, SERIES)
    except BadMessage:
        return


def test_the_same_event_again_is_the_same_image_and_new_content_another() -> None:
    """What tells images apart is the object's name and its content's mark."""
    keys = [read(minio("a.jpg", eTag=tag), SERIES)[0].key for tag in ("e1", "e1", "e2")]  # type: ignore[union-attr]
    assert keys[0] == keys[1] != keys[2]


def test_the_longest_rule_counts() -> None:
    """A bucket's name alone never means another bucket that begins alike."""
    assert series_of("cams", "ridge/a.jpg", SERIES) == "ridge"
    assert series_of("cams", "ridges/a.jpg", SERIES) == "all"
    assert series_of("cams2", "a.jpg", SERIES) is None
