"""How long uploaded images are kept: the rule. Pure."""

import re
from typing import NamedTuple

DAY_SECONDS = 24 * 3600.0
_NAME = re.compile(rb"[0-9a-f]{64}")


class JobNow(NamedTuple):
    """The state of a job that has a manifest, as far as it is known."""

    held: bool
    """Images that are sent again may still be answered from it."""
    known: bool
    """Kafka has its spec."""
    ended: float | None
    """When it ended, seconds since 1970; None while it has not, or is not known to have."""
    written: float
    """When its manifest was written last."""


def needs(job: JobNow, before: float, forgotten: float) -> bool:
    """Whether the job still needs the images that its manifest names.

    It does until it ended before the moment `before`. A job that Kafka does not know may be on its way there; one whose
    manifest was written before `forgotten` had its time. Seconds since 1970.
    """
    if job.held:
        return True
    if job.ended is not None:
        return job.ended >= before
    return job.known or job.written >= forgotten


def name_of(file: str) -> str | None:
    """The image in a file of that name; None for a file that is no uploaded image."""
    name = file.partition(".")[0]
    return name if _NAME.fullmatch(name.encode(errors="replace")) else None


def named(line: bytes) -> list[str]:
    """The uploaded images that may be meant in a piece of a manifest: their digests, which are their names.

    Whatever looks like one counts, wherever it stands: too many are kept, and never one too few. A line that is being
    written counts as far as it has come.
    """
    return [name.decode() for name in _NAME.findall(line)]
