"""The body of an upload: one image as it is, or several in a form, received under limits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

from aiohttp import BodyPartReader, web

from producer.live.incoming import InHand, NoImage, Spool, TooLarge
from trapstream.core.door import BadRequest
from trapstream.core.settings import ProducerSettings
from trapstream.jobs.names import MOST_META, BadName

T = TypeVar("T")

LEAST_RATE = 1024
"""Bytes a second that a sender must keep up, beside its patience."""
FIELDS = frozenset({"job", "camera", "captured", "meta", "file", "webhook", "webhook_filter"})
_PIECE = 64 * 1024


class Body(NamedTuple):
    """A request's body, whole."""

    images: list[tuple[str, Spool]]
    """The name that the sender gave each, and its content."""
    fields: dict[str, str]
    """Of a form."""


class _Deadline:
    """Ends a sender that is too slow: the time that it has grows with the bytes that it sends."""

    def __init__(self, patience: float) -> None:
        self._began, self._patience, self._bytes = time.monotonic(), patience, 0

    async def wait_for(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`. BadRequest if it does not come in time, or the body ends too soon."""
        left = self._began + self._patience + self._bytes / LEAST_RATE - time.monotonic()
        try:
            async with asyncio.timeout(left):
                piece = await call()
        except TimeoutError:
            raise BadRequest(408, f"too slow: send {LEAST_RATE:,} bytes a second at least; nothing was kept") from None
        except (web.RequestPayloadError, ConnectionError, asyncio.IncompleteReadError) as error:
            raise BadRequest(400, "the body ended before it was whole; nothing was kept") from error
        self._bytes += len(piece) if isinstance(piece, bytes | bytearray) else 0
        return piece


async def receive(request: web.Request, settings: ProducerSettings, held: ExitStack, in_hand: InHand) -> Body:
    """The whole body. `held` keeps what is received until the request is answered. BadRequest; OSError."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest(415, "send the image as it is, without a Content-Encoding")
    limit = settings.upload_bytes * settings.upload_images
    if (request.content_length or 0) > limit:
        raise BadRequest(413, f"a request may have {limit:,} bytes at most")
    deadline = _Deadline(settings.upload_patience_seconds)

    def spool() -> Spool:
        return held.enter_context(Spool(settings.results, settings.upload_bytes, in_hand))

    if request.content_type.startswith("multipart/"):
        return await _form(request, deadline, spool, settings)
    return Body([("", await _image(lambda: request.content.read(_PIECE), spool(), deadline, ""))], {})


async def _form(
    request: web.Request, deadline: _Deadline, spool: Callable[[], Spool], settings: ProducerSettings
) -> Body:
    body = Body([], {})
    try:
        reader = await request.multipart()
        while (part := await deadline.wait_for(reader.next)) is not None:
            if not isinstance(part, BodyPartReader):
                raise BadRequest(400, "a part of the form is a form itself; send each image as a part of its own")
            if part.filename is None and (part.name or "") in FIELDS:
                body.fields[part.name or ""] = await _text(part, deadline)
            else:
                if len(body.images) == settings.upload_images:
                    raise BadRequest(413, f"a request may have {settings.upload_images} images at most")
                number = f"image {len(body.images) + 1} of the form: "
                image = await _image(_chunks(part), spool(), deadline, number)
                await image.flush()  # a form of many images holds one of them in memory
                body.images.append((part.filename or "", image))
    except (ValueError, TypeError, AssertionError, web.HTTPException) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BadRequest(400, f"the form cannot be read: {first_line}; nothing was kept") from None
    if not reader.at_eof():  # without its last boundary a body that was cut off looks like a shorter one
        raise BadRequest(400, "the body ended before it was whole; nothing was kept")
    if not body.images:
        raise BadRequest(400, "the form has no image; send each one as a file")
    return body


def _chunks(part: BodyPartReader) -> Callable[[], Awaitable[bytes]]:
    return lambda: part.read_chunk(_PIECE)


async def _image(read: Callable[[], Awaitable[bytes]], spool: Spool, deadline: _Deadline, which: str) -> Spool:
    """Receives one image; `which` begins a message about it."""
    try:
        while piece := await deadline.wait_for(read):
            await spool.add(bytes(piece))
        spool.check()
    except TooLarge as error:
        raise BadRequest(413, f"{which}{error}") from None
    except NoImage as error:
        raise BadRequest(415 if spool.size else 400, f"{which}{error}; nothing was kept") from None
    return spool


async def _text(part: BodyPartReader, deadline: _Deadline) -> str:
    data = bytearray()
    while piece := await deadline.wait_for(_chunks(part)):
        data += piece
        if len(data) > 4 * MOST_META:
            raise BadRequest(400, f"the field {part.name} is too long")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadName(f"the field {part.name} is not UTF-8") from None
