"""The incoming area of the result store: uploaded bytes, whole or absent, named by their content, and held."""

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from trapstream.core import faults
from trapstream.core.errors import TrapstreamError
from trapstream.core.result_store import incoming_folder, sync_folder
from trapstream.images import sniff
from trapstream.jobs.manifest import file_uri

SPARE = 500_000_000
"""Bytes of the disk that must stay free: logs, stores and results live there too."""
_PIECE = 1 << 20
_HEAD = 4096
"""Bytes from which the format is told."""


class NoImage(TrapstreamError):
    """The content is no image. The text says what kind of content it looks like."""


class TooLarge(TrapstreamError):
    """The content has more bytes than one image may have."""


class Kept(NamedTuple):
    """An image that lies in the incoming area for good."""

    uri: str
    sha256: str


def spool_folder(results: Path) -> Path:
    """Where uploads lie that are not whole yet."""
    return incoming_folder(results) / "spool"


def prepare(results: Path) -> None:
    """Makes the area, and removes uploads that a death left half-way. Only for its owner. OSError."""
    spool = spool_folder(results)
    spool.mkdir(parents=True, exist_ok=True)
    for stale in spool.iterdir():
        stale.unlink()


def is_full(results: Path) -> bool:
    """Whether the disk has no room for uploads."""
    return shutil.disk_usage(results).free < SPARE


class InHand:
    """Names of images that lie in the area while no job may refer to them yet. In memory, for any thread.

    The cleaner calls `begin`, has all lines written that wait for it, reads which images the jobs name, and then
    removes. An upload holds its image's name from before it looks for its file until its line is written. So an image
    that it finds is either held, or was since `begin`, or stands in a manifest that the cleaner reads.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._held: Counter[str] = Counter()
        self._since: set[str] | None = None
        """Held at some moment since `begin`."""
        self._going: str | None = None
        """The image that is being removed."""

    def hold(self, name: str) -> None:
        """From here on the image stays. Waits for one that is going just now."""
        with self._change:
            self._change.wait_for(lambda: self._going != name)
            self._held[name] += 1
            if self._since is not None:
                self._since.add(name)

    def release(self, name: str) -> None:
        """The image's line is written, or never will be."""
        with self._change:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    def begin(self) -> None:
        """The cleaner begins to read which images the jobs name."""
        with self._change:
            self._since = set(self._held)

    def end(self) -> None:
        """The cleaner is done."""
        with self._change:
            self._since = None

    def remove(self, name: str, unlink: Callable[[], None]) -> bool:
        """Removes an image that no upload has held since `begin`; returns whether it did."""
        with self._change:
            if self._since is None or name in self._since:
                return False
            self._going = name
        try:
            unlink()
        finally:
            with self._change:
                self._going = None
                self._change.notify_all()
        return True


class Spool:
    """One image that is being received. Nothing of it stays unless it is kept. A context.

    One that is kept is in hand to the end of the context, so that nobody removes it before its line is written.
    """

    def __init__(self, results: Path, most: int, in_hand: InHand) -> None:
        """`most`: bytes that it may have."""
        self._results, self._most, self._in_hand = results, most, in_hand
        self._name: str | None = None
        self._path = spool_folder(results) / secrets.token_hex(16)
        self._digest = hashlib.sha256()
        self._held = bytearray()
        self._head = b""
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        if self._name is not None:
            self._in_hand.release(self._name)

    async def add(self, data: bytes) -> None:
        """More of its content. TooLarge; OSError."""
        self.size += len(data)
        if self.size > self._most:
            raise TooLarge(f"an image may have {self._most:,} bytes at most")
        self._digest.update(data)
        if len(self._head) < _HEAD:
            self._head += data[:_HEAD]
        self._held += data
        if len(self._held) >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Lets its memory go. OSError."""
        piece, self._held = bytes(self._held), bytearray()
        await asyncio.to_thread(self._write, piece)

    def check(self) -> None:
        """NoImage unless it begins as an image does, whatever its name and its declared type say."""
        if not self.size:
            raise NoImage("it is empty")
        if sniff.format_of(self._head) is None:
            raise NoImage(f"it is no image: {sniff.looks_like(self._head)}")

    async def keep(self) -> Kept:
        """Puts it into the area, for good. OSError."""
        return await asyncio.to_thread(self._keep)

    def _write(self, data: bytes) -> None:
        if is_full(self._results):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._path.open("ab") as file:
            file.write(data)

    def _keep(self) -> Kept:
        name = self._digest.hexdigest()
        form = sniff.format_of(self._head)
        folder = incoming_folder(self._results) / name[:2]
        path = folder / f"{name}.{str(form).lower()}"
        self._in_hand.hold(name)
        self._name = name
        # 1. The content, synced, under a name that is made of it. Killed after it: no job refers to it yet; sent again,
        #    it is found there.
        if not (path.exists() and path.stat().st_size == self.size):
            with self._path.open("ab") as file:
                file.write(self._held)
                file.flush()
                os.fsync(file.fileno())
            folder.mkdir(exist_ok=True)
            self._path.rename(path)
        sync_folder(folder)
        sync_folder(folder.parent)
        faults.reach("arrive.1")
        return Kept(file_uri(os.fsencode(path.absolute())), name)
