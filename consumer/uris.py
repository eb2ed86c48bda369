"""What the address of an image names. Pure: nothing here asks the network or the disk."""

import re
from collections.abc import Sequence
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from trapstream.core.errors import Permanent, Reason
from trapstream.jobs.manifest import is_exact_key

_BUCKET = re.compile(r"[$A-Za-z0-9][A-Za-z0-9._-]*\Z")


def scheme(uri: str) -> str:
    """The scheme in lower case; empty for a plain path."""
    head, colon, _ = uri.partition("://")
    return head.lower() if colon else ""


def local_path(uri: str) -> bytes:
    """The path of a file:// address, as bytes: a name need not be UTF-8. Permanent(UNSUPPORTED_URI)."""
    rest = uri[len("file://") :]
    if rest.lower().startswith("localhost/"):
        rest = rest[len("localhost") :]
    if not rest.startswith("/"):
        raise Permanent(Reason.UNSUPPORTED_URI, "a file address begins with file:/// and an absolute path")
    path = unquote_to_bytes(rest)
    if b"\0" in path:
        raise Permanent(Reason.UNSUPPORTED_URI, "the path holds a zero byte")
    return path


def is_inside(path: bytes, roots: Sequence[bytes]) -> bool:
    """Whether `path` is one of `roots` or below one. All are absolute and resolved."""
    return any(path == root or path.startswith(root.rstrip(b"/") + b"/") for root in roots)


def object_name(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3://, gs:// or az:// address, the key decoded. Permanent(UNSUPPORTED_URI).

    Also for a key that the store's client would change before it asks: its answer would be another object's.
    """
    bucket, _, rest = uri.partition("://")[2].partition("/")
    if not _BUCKET.match(bucket) or not rest:
        raise Permanent(Reason.UNSUPPORTED_URI, "an object's address is scheme://bucket/key")
    try:
        key = unquote(rest, errors="strict")
    except UnicodeDecodeError:
        raise Permanent(Reason.UNSUPPORTED_URI, "the object's name is not UTF-8") from None
    if not is_exact_key(key):
        raise Permanent(Reason.UNSUPPORTED_URI, "no valid name of an object")
    return bucket, key


def host_of(uri: str) -> str | None:
    """The server, or the bucket, behind `uri`, without user and password; None for a local file."""
    try:
        parts = urlsplit(uri)
        if parts.scheme in {"", "file"} or not parts.hostname:
            return None
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}{port}"
