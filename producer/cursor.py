"""How far a job is published, on this producer's disk. Losing a cursor costs repeats, never an image."""

import os
from pathlib import Path

import msgspec

from trapstream.core import log


class Cursor(msgspec.Struct, frozen=True):
    """The first reference that is not known to be acknowledged."""

    manifest_sha256: str = ""
    """The manifest that it belongs to; empty for a live job, whose manifest grows."""
    seq: int = 0
    offset: int = 0
    """Of that reference's line in the manifest, in bytes."""


def cursor_path(folder: Path, job: str) -> Path:
    """Where the job's cursor is."""
    return folder / f"{job}.cursor"


def live_path(folder: Path, job: str) -> Path:
    """Where a live job's cursor is."""
    return folder / f"{job}.live"


def read(path: Path, manifest_sha256: str = "") -> Cursor:
    """The cursor in that manifest; its beginning where there is none, or none that can be read."""
    start = Cursor(manifest_sha256)
    try:
        cursor = msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return start
    except (OSError, msgspec.DecodeError) as error:
        log.get_logger().warning("cursor lost, publishing from the beginning", path=str(path), error=str(error))
        return start
    return cursor if cursor.manifest_sha256 == manifest_sha256 else start


def write(path: Path, cursor: Cursor) -> None:
    """Replaces the cursor in one step. A disk that refuses it is said, and costs repeats after a crash only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No fsync: after a power cut an older or empty cursor does no harm.
        temporary.write_bytes(msgspec.json.encode(cursor))
        temporary.rename(path)
    except OSError as error:
        log.get_logger().warning("cursor not written", path=str(path), error=str(error))


def remove(path: Path) -> None:
    """Forgets the cursor, if there is one."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.get_logger().warning("cursor not removed", path=str(path), error=str(error))
