"""A manifest, checked whole and then read in chunks of references ready to send. For threads: it blocks."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from producer.cursor import Cursor
from trapstream.core import messages
from trapstream.core.errors import TrapstreamError
from trapstream.core.messages import JobSpec
from trapstream.core.result_store import decode_line, reference

MOST_REFS = 1000
"""References of one turn of a job."""
MOST_BYTES = 1_000_000


class DamagedManifest(TrapstreamError):
    """A stored manifest that is not the one of the job's spec. The text is one line for the job's owner."""


class Chunk(NamedTuple):
    """Some references in the order of the manifest."""

    refs: list[bytes]
    """Encoded ImageRefs; none at the manifest's end."""
    first: int
    """The seq of the first."""
    after: Cursor
    """Where the next chunk begins."""


def check(path: Path, spec: JobSpec) -> None:
    """DamagedManifest unless the manifest is there, readable, and has the job's digest."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedManifest(_unreadable(error)) from None
    if digest != spec.manifest_sha256:
        raise DamagedManifest("the stored manifest is damaged (its digest is not the job's): submit the job again")


def read_checked(path: Path, spec: JobSpec, cursor: Cursor, most: int) -> Chunk:
    """As `read`, of a manifest that was checked. DamagedManifest if the file has changed since."""
    try:
        chunk = read(path, spec.job, cursor, most)
    except OSError as error:
        raise DamagedManifest(_unreadable(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedManifest(f"the stored manifest is damaged ({error}): submit it again") from None
    if chunk.after.seq > spec.images or (not chunk.refs and cursor.seq < spec.images):
        raise DamagedManifest(f"the stored manifest has not the job's {spec.images} images: submit the job again")
    return chunk


def read(path: Path, job: str, cursor: Cursor, most: int) -> Chunk:
    """The chunk of at most `most` references that begins at `cursor`. OSError; msgspec.DecodeError."""
    refs: list[bytes] = []
    size, seq = 0, cursor.seq
    with path.open("rb") as file:
        file.seek(cursor.offset)
        for line in file:
            refs.append(messages.encode(reference(job, seq, decode_line(line))))
            seq += 1
            size += len(line)
            if len(refs) >= most or size >= MOST_BYTES:
                break
    return Chunk(refs, cursor.seq, Cursor(cursor.manifest_sha256, seq, cursor.offset + size))


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the stored manifest is missing: submit the job again"
    return f"the stored manifest cannot be read ({error.strerror}): give the producer access and submit the job again"
