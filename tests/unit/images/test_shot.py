"""Capture time and serial number out of EXIF data, whatever state it is in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import images
from tests.unit.values import image_ref
from trapstream.images.shot import Shot, meta, read_shot, taken


def photograph(form: str = "JPEG", old: bool = False, **tags: object) -> bytes:
    """An image with EXIF tags: `taken` and `serial`."""
    exif = Image.Exif()
    block = exif.get_ifd(0x8769)
    if "taken" in tags:
        block[0x9003] = tags["taken"]
    if "serial" in tags:
        (exif if old else block)[0xC62F if old else 0xA431] = tags["serial"]
    return images.encode(images.scene(64, 48), form, exif=exif.tobytes())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_a_camera_writes(form: str) -> None:
    """The capture time as it stands there, and the serial number."""
    data = photograph(form, taken="2026:11:23 05:12:44", serial="HC600 77")
    assert read_shot(data) == Shot("2026:11:23 05:12:44", "HC600 77")


def test_an_older_tag_of_the_serial_number() -> None:
    """It is taken where the newer one is missing."""
    assert read_shot(photograph(old=True, serial="X1")).serial == "X1"


@pytest.mark.parametrize("value", ["", "    ", "0000", "2026-11-23 05:12:44", "2026:11:23 05:12:44\nx", "é" * 19])
def test_what_is_no_time_is_left_out(value: str) -> None:
    """The entry has null then, as MegaDetector writes it."""
    assert read_shot(photograph(taken=value)).taken is None


NO_MOMENTS = [
    "0000:00:00 00:00:00",
    "0000:01:01 00:00:00",
    "2019:01:01 24:04:20",
    "2026:02:30 05:12:44",
    "2026:02:29 05:12:44",
    "2026:00:10 05:12:44",
    "2026:10:00 05:12:44",
    "2026:13:01 05:12:44",
    "2026:11:31 05:12:44",
    "2026:11:23 05:60:44",
    "2026:11:23 05:12:60",
    "2026:11:23 05:12:61",
    "9999:99:99 99:99:99",
]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", NO_MOMENTS)
def test_what_is_no_moment_does_not_count(value: str, form: str) -> None:
    """The sender's word stands then, and without one nothing does."""
    shot = read_shot(photograph(form, taken=value, serial="HC600"))
    assert shot == Shot(None, "HC600")
    assert taken(image_ref(captured="2026:11:30 05:00:00"), shot) == "2026:11:30 05:00:00"
    assert taken(image_ref(), shot) is None


@pytest.mark.parametrize("value", ["2024:02:29 23:59:59", "0001:01:01 00:00:00", "9999:12:31 23:59:59"])
def test_every_moment_counts(value: str) -> None:
    """A leap day, and the calendar's first and last second, as they stand there."""
    assert read_shot(photograph(taken=value)).taken == value


def test_nothing_there() -> None:
    """Images without EXIF data, damaged ones, and what is no image."""
    cut = images.truncated(images.jpeg(), 0.01)
    for data in (images.jpeg(), images.png(), images.damaged_exif(), images.TEXT, b"", cut):
        assert read_shot(data) == Shot()


@given(st.data())
def test_damage_does_no_harm(data: st.DataObject) -> None:
    """Bytes changed anywhere in the head: something is read or nothing, and it is printable and short."""
    raw = bytearray(photograph(taken="2026:11:23 05:12:44", serial="HC600"))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(2, 200))] = data.draw(st.integers(0, 255))
    serial = read_shot(bytes(raw)).serial
    assert serial is None or (serial.isprintable() and 0 < len(serial) <= 64)


def test_the_camera_goes_before_its_sender() -> None:
    """The sender's capture time stands where the image has none."""
    ref = image_ref(captured="2026:01:01 00:00:00")
    assert taken(ref, Shot(taken="2025:12:31 23:00:00")) == "2025:12:31 23:00:00"
    assert taken(ref, Shot()) == "2026:01:01 00:00:00"
    assert taken(image_ref(), Shot()) is None


def test_the_serial_number_joins_what_is_known() -> None:
    """In `meta`, beside the camera's name and the sender's note; without one nothing is changed."""
    ref = image_ref(meta='{"camera":"C7","meta":"note"}')
    assert json.loads(meta(ref, Shot(serial="X")) or "") == {"camera": "C7", "meta": "note", "serial": "X"}
    assert meta(ref, Shot()) == ref.meta and meta(image_ref(), Shot()) is None
    assert meta(image_ref(meta="plain"), Shot(serial="X")) == "plain"
