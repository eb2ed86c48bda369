"""What an image's EXIF data says of the shot: when, and by which camera. For the entries of live images.

The tags are those of the EXIF 2.3 standard, section 4.6.5; `datetime` is written as MegaDetector writes it.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from PIL import Image

from trapstream.core import json_codec
from trapstream.core.messages import ImageRef
from trapstream.images.header import open_image
from trapstream.images.sniff import Format, format_of

_EXIF_BLOCK = 0x8769
_TAKEN = 0x9003
"""DateTimeOriginal."""
_SERIAL = 0xA431
"""BodySerialNumber."""
_OLD_SERIAL = 0xC62F
"""CameraSerialNumber, in the first block, as older cameras write it."""
_TIME = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")
_MOST_SERIAL = 64


@dataclass(frozen=True, slots=True)
class Shot:
    """What could be read; None for what is not there, or is no such thing."""

    taken: str | None = None
    """YYYY:MM:DD HH:MM:SS by the camera's own clock."""
    serial: str | None = None


def read_shot(data: bytes) -> Shot:
    """The shot of an encoded image. Whatever is wrong with the EXIF block, the image is none the worse for it."""
    form = format_of(data)
    if form is None or (form is Format.PNG and b"eXIf" not in data):  # PNG's would decode the picture to look for one
        return Shot()
    try:
        with open_image(data, form) as image:
            exif = Image.Image.getexif(image)
            block = exif.get_ifd(_EXIF_BLOCK)
            return Shot(_time(block.get(_TAKEN)), _text(block.get(_SERIAL)) or _text(exif.get(_OLD_SERIAL)))
    except Exception:  # Pillow raises nearly every class for a block that is damaged
        return Shot()


def taken(ref: ImageRef, shot: Shot) -> str | None:
    """When the image was taken: the camera itself goes before whoever sent it."""
    return shot.taken or ref.captured or None


def meta(ref: ImageRef, shot: Shot) -> str | None:
    """The reference's facts and the camera's serial number, as one JSON object; None where there are none."""
    if shot.serial is None:
        return ref.meta
    try:
        facts = json_codec.decode(ref.meta or "{}")
    except ValueError:
        return ref.meta
    if not isinstance(facts, dict):  # not as the producer writes it: passed through
        return ref.meta
    return json_codec.encode(facts | {"serial": shot.serial}).decode()


def _time(value: object) -> str | None:
    """The time where it is a moment of the calendar: a clock that was never set writes zeros, others an hour 24."""
    found = _text(value)
    if found is None or not _TIME.fullmatch(found):
        return None
    try:
        datetime.strptime(found, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return found


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore")
    if not isinstance(value, str):
        return None
    text = "".join(sign for sign in value if sign.isprintable()).strip()[:_MOST_SERIAL]
    return text or None
