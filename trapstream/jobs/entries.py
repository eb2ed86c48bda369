"""What an entry of a list means on this machine, where it was perhaps written on another one. It looks at the disk."""

# ruff: noqa: PTH109, PTH111
# Paths are bytes here, so that every name works; pathlib has only text.

import errno
import os
import re
from collections.abc import Sequence

from trapstream.jobs.manifest import SourceError, absolute, is_url, normalised, path_of_uri, path_text

MOST_LOOKED_AT = 1000
"""Entries of a list of which one at least has to be there."""
_QUOTES = (b'"', b"'")
_OF_WINDOWS = re.compile(rb"[A-Za-z]:[\\/]|\\")
_SCHEMES = ("http://", "https://", "s3://", "gs://", "az://")
_ANYWAY = "; --anyway makes the job nevertheless, and these images then fail"


def understood(written: bytes, base: bytes, name: str, anyway: bool) -> bytes:
    """The path or URL that an entry of the list `name` means; relative paths count from the folder `base`.

    What is there under the very name is meant. Else quotes and blanks around it are taken away, `~` is the user's own
    folder, and a relative path of Windows gets slashes. SourceError for a drive or share of Windows, unless `anyway`.
    """
    text = written.strip()
    if len(text) > 1 and text[:1] in _QUOTES and text[-1:] == text[:1]:
        text = text[1:-1].strip()
    if text == written and b"\\" not in text and not text.startswith(b"~") and not _OF_WINDOWS.match(text):
        return written  # nearly every entry of nearly every list: the disk is not asked
    if not text or (is_url(text) and b"\\" not in text):
        return text or written
    for literal in (written, text):
        if _is_there(absolute(literal, base)):
            return literal
    if _OF_WINDOWS.match(text):
        if anyway:
            return written
        raise SourceError(
            f"{name}: {path_text(text)} is on a drive or share of Windows, which cannot be reached here under this "
            f"name; write paths that are relative to the folder of the list{_ANYWAY}"
        )
    text = text.replace(b"\\", b"/")
    return os.path.expanduser(text) if text.startswith(b"~") else text


def require_one(uris: Sequence[str], name: str, base: bytes) -> None:
    """SourceError if of the first entries of the list `name` nothing is on this disk, and nothing may be elsewhere."""
    if not uris or any(map(_may_be_there, uris)):
        return
    first, here = path_of_uri(uris[0].encode()), os.getcwdb()
    shown = path_text(first) if uris[0].startswith("file://") else uris[0]
    hint = ""
    if any(_is_there(here + path[len(base) :]) for path in map(_path, uris) if path.startswith(base + b"/")):
        hint = f", and from the working folder {path_text(here)} they are there: move the list into it"
    what = f"its only entry, {shown}, is not there"
    if len(uris) > 1:
        what = f"none of its first {len(uris):,} entries is there, such as {shown}"
    raise SourceError(f"{name}: {what}; relative paths count from {path_text(base)}{hint}{_ANYWAY}")


def _path(uri: str) -> bytes:
    return normalised(path_of_uri(uri.encode())) if uri.startswith("file://") else b""


def _may_be_there(uri: str) -> bool:
    return _is_there(_path(uri)) if uri.startswith("file://") else uri.lower().startswith(_SCHEMES)


def _is_there(path: bytes) -> bool:
    """Whether something has this name, or nobody can say: a folder on the way may be closed to this user."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
    except ValueError:
        return False
    return True
