"""Names and times that a sender gives, checked and made harmless: series, files, capture times. Pure."""

import re
from collections.abc import Container
from datetime import datetime

from trapstream.core.errors import BadInput

MOST_META = 4096
"""Characters of the text that a sender adds to an image."""
_SERIES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_DRIVE = re.compile(r"[A-Za-z]:\Z")
_MOST_STEP, _MOST_NAME = 120, 512
"""Bytes of one step of a name, and of all of it."""
_TIMES = ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


class BadName(BadInput):
    """A name that cannot be used. The text is one line that says what was expected."""


def series_name(given: str) -> str:
    """The name of a series, which is part of a job's id. BadName."""
    if not _SERIES.match(given):
        raise BadName("a job or camera is named by 1 to 64 letters, digits, - and _, the first a letter or digit")
    return given


def harmless(given: str) -> str:
    """A relative name with forward slashes, of whatever was given: it leads nowhere and fits a line.

    Steps that are empty, `.` or `..` go, and a drive's letter; so do signs that cannot be printed. Empty where
    nothing is left.
    """
    printable = "".join(sign for sign in given.replace("\\", "/") if sign.isprintable())
    steps = [_cut(step.strip(), _MOST_STEP).strip() for step in printable.split("/")]
    kept = [step for step in steps if step not in ("", ".", "..") and not _DRIVE.match(step)]
    while kept and len("/".join(kept).encode()) > _MOST_NAME:
        kept = kept[1:]  # the name itself says more than the folders before it
    return "/".join(kept)


def unique(name: str, taken: Container[str]) -> str:
    """`name`, or `name~2`, `name~3` before its suffix where it is taken: cameras count from 1 again and again."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    if not stem:
        stem, dot, suffix = last, "", ""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{folder}{slash}{stem}~{number}{dot}{suffix}"
    return found


def captured(given: str) -> str:
    """A capture time as the entry has it, YYYY:MM:DD HH:MM:SS: the wall clock where it was taken. BadName.

    Takes that form and ISO 8601; an offset is checked and left out, since EXIF has none.
    """
    text = given.strip()
    for form in _TIMES:
        try:
            return _written(datetime.strptime(text, form))
        except ValueError:
            continue
    try:
        return _written(datetime.fromisoformat(text))
    except ValueError:
        raise BadName("a capture time is written as 2026-11-23T05:12:44 or 2026:11:23 05:12:44") from None


def _written(moment: datetime) -> str:
    return f"{moment.year:04}:{moment:%m:%d %H:%M:%S}"  # %Y alone writes the year 1 as 1


def meta(given: str) -> str:
    """The text that a sender adds to an image. BadName if it is too long."""
    if len(given) > MOST_META:
        raise BadName(f"meta has more than {MOST_META:,} characters")
    return given


def _cut(step: str, most: int) -> str:
    """`step` in at most `most` bytes, its suffix kept."""
    if len(step.encode()) <= most:
        return step
    stem, dot, suffix = step.rpartition(".")
    end = f"{dot}{suffix}" if stem and len(suffix.encode()) < 16 else ""
    head = step.encode()[: most - len(end.encode())].decode(errors="ignore")
    return head + end
