"""The entry of an image without an answer: its bytes are the same, whoever writes it. Pure."""

import msgspec

from trapstream.core.errors import Reason, failure_text


class _Failed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    file: str
    meta: str | None = None
    failure: str
    detections: None


_encoder = msgspec.json.Encoder()


def failure_entry(file: str, meta: str | None, reason: Reason, detail: str = "") -> bytes:
    """The entry, as JSON."""
    return _encoder.encode(_Failed(file=file, meta=meta, failure=failure_text(reason, detail), detections=None))
