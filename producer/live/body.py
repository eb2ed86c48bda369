"""The body of an upload: one image as it is, or several in a form, received under limits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web

from producer.live.in_hand import InHand
from producer.live.incoming import NoImage, Spool, TooLarge
from trapstream.core.door import BadRequest
from trapstream.core.settings import ProducerSettings
from trapstream.jobs.names import MOST_META, BadName

T = TypeVar("T")

LEAST_RATE = 1024
"""Bytes a second that a sender must keep up, beside its patience."""
FIELDS = frozenset({"job", "camera", "captured", "meta", "file", "webhook", "webhook_filter"})
_PIECE = 64 * 1024
_MOST_PARTS = 32
"""Parts of a form that are no images."""


class Body(NamedTuple):
    """What came, whole."""

    images: list[tuple[str, Spool]]
    """The name that the sender gave each, and its content."""
    fields: dict[str, str]
    """Of a form."""


class _Pace:
    """Ends a sender that is too slow: the time it has grows with what it sends."""

    def __init__(self, patience: float) -> None:
        self._began, self._patience, self._bytes = time.monotonic(), patience, 0

    async def get(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of `call`. BadRequest if it does not come in time, or the body ends too soon."""
        left = self._began + self._patience + self._bytes / LEAST_RATE - time.monotonic()
        try:
            async with asyncio.timeout(left):
                answer = await call()
        except TimeoutError:
            raise BadRequest(408, f"too slow: send {LEAST_RATE:,} bytes a second at least; nothing was kept") from None
        except (web.RequestPayloadError, ConnectionError, asyncio.IncompleteReadError) as error:
            raise BadRequest(400, "the body ended before it was whole; nothing was kept") from error
        self._bytes += len(answer) if isinstance(answer, bytes | bytearray) else 0
        return answer


async def receive(request: web.Request, settings: ProducerSettings, held: ExitStack, in_hand: InHand) -> Body:
    """The whole body. `held` keeps what is received until the request is answered. BadRequest; OSError."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest(415, "send the image as it is, without a Content-Encoding")
    limit = settings.upload_bytes * settings.upload_images
    if (request.content_length or 0) > limit:
        raise BadRequest(413, f"a request may have {limit:,} bytes at most")
    pace = _Pace(settings.upload_patience_seconds)
    try:
        if request.content_type.startswith("multipart/"):
            return await _form(request, pace, lambda: held.enter_context(_spool(settings, in_hand)), settings)
        spool = held.enter_context(_spool(settings, in_hand))
        if (request.content_length or 0) > settings.upload_bytes:
            raise TooLarge(f"an image may have {settings.upload_bytes:,} bytes at most")
        while piece := await pace.get(lambda: request.content.read(_PIECE)):
            await spool.add(piece)
        spool.check()
    except TooLarge as error:
        raise BadRequest(413, str(error)) from None
    except NoImage as error:
        raise BadRequest(415 if spool.size else 400, str(error)) from None
    return Body([("", spool)], {})


def _spool(settings: ProducerSettings, in_hand: InHand) -> Spool:
    return Spool(settings.results, settings.upload_bytes, in_hand)


async def _form(request: web.Request, pace: _Pace, spool: Callable[[], Spool], settings: ProducerSettings) -> Body:
    body = Body([], {})
    try:
        reader = await request.multipart()
        others = 0
        while (part := await pace.get(reader.next)) is not None:
            if not isinstance(part, BodyPartReader):
                raise BadRequest(400, "a part of the form is a form itself; send each image as a part of its own")
            if part.filename is None and (part.name or "") in FIELDS:
                others += 1
                if others > _MOST_PARTS:
                    raise BadRequest(400, f"the form has more than {_MOST_PARTS} fields")
                body.fields[part.name or ""] = await _text(part, pace)
            else:
                if len(body.images) == settings.upload_images:
                    raise BadRequest(413, f"a request may have {settings.upload_images} images at most")
                body.images.append((part.filename or "", await _image(part, spool(), pace, len(body.images))))
    except (ValueError, TypeError, AssertionError, web.HTTPException) as error:
        raise BadRequest(400, f"the form cannot be read: {_first_line(error)}; nothing was kept") from None
    if not _at_end(reader):
        raise BadRequest(400, "the body ended before it was whole; nothing was kept")
    if not body.images:
        raise BadRequest(400, "the form has no image; send each one as a file")
    return body


async def _image(part: BodyPartReader, spool: Spool, pace: _Pace, before: int) -> Spool:
    which = f"image {before + 1} of the form"
    try:
        while piece := await pace.get(lambda: part.read_chunk(_PIECE)):
            await spool.add(bytes(piece))
        spool.check()
        await spool.flush()  # a form of many images holds one of them in memory
    except TooLarge as error:
        raise BadRequest(413, f"{which}: {error}") from None
    except NoImage as error:
        raise BadRequest(415 if spool.size else 400, f"{which}: {error}; nothing was kept") from None
    return spool


async def _text(part: BodyPartReader, pace: _Pace) -> str:
    data = bytearray()
    while piece := await pace.get(lambda: part.read_chunk(_PIECE)):
        data += piece
        if len(data) > 4 * MOST_META:
            raise BadRequest(400, f"the field {part.name} is too long")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadName(f"the field {part.name} is not UTF-8") from None


def _at_end(reader: MultipartReader | Any) -> bool:
    """Whether the form's last boundary came: without it a body that was cut off looks like a shorter one."""
    return bool(reader.at_eof()) if isinstance(reader, MultipartReader) else True


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
