"""Which address may be reached, and what an address names. Pure: nothing here asks the network or the disk."""

import ipaddress
import os
from collections.abc import Sequence
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from trapstream.core.errors import Permanent, Reason

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether `address`, a numeric IP address, lies in the public internet.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, NAT64) counts as what it carries.
    """
    try:
        ip: IPAddress = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        carried = _carried(ip)
        if carried:
            return all(map(_is_public, carried))
    return _is_public(ip)


def _carried(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    if ip.sixtofour:
        return [ip.sixtofour]
    if ip.teredo:
        return list(ip.teredo)
    if ip in _NAT64:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    return []


def _is_public(ip: IPAddress) -> bool:
    special = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved
    # is_global alone calls multicast global, and its ranges differ between Python versions: several must agree.
    return ip.is_global and not (special or ip.is_unspecified or getattr(ip, "is_site_local", False))


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
    """Bucket and key of an s3://, gs:// or az:// address, the key decoded. Permanent(UNSUPPORTED_URI)."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket or not key:
        raise Permanent(Reason.UNSUPPORTED_URI, "an object's address is scheme://bucket/key")
    return bucket, unquote(key)


def shown(uri: str) -> str:
    """`uri` for a log: without user, password, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return f"{scheme(uri)}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def real_roots(roots: Sequence[os.PathLike[str]]) -> list[bytes]:
    """The roots with their symbolic links resolved, once."""
    return [os.fsencode(os.path.realpath(root)) for root in roots]
