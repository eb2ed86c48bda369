"""Which addresses may be reached, and what they name."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.uris import host_of, is_inside, local_path, object_name, scheme
from trapstream.core.addresses import is_public
from trapstream.core.errors import Permanent, Reason

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "192.0.2.1", "198.18.0.1",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe", "", "localhost", "2130706433",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    """Loopback, private, link-local, shared, multicast, reserved, and what carries one of them, is not public."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """Ordinary addresses are public, also inside IPv6."""
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_mapped_is_what_it_maps(address: ipaddress.IPv4Address) -> None:
    """An IPv4 address is as public inside IPv6 as it is alone."""
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(str(address))


@given(st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path))
def test_paths_survive(name: bytes) -> None:
    """Any name of a file, UTF-8 or not, comes through an address unchanged."""
    quoted = "".join(f"%{byte:02X}" for byte in name)
    assert local_path(f"file:///data/{quoted}") == b"/data/" + name


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a%20b/%FF.jpg", b"/a b/\xff.jpg"),
        ("FILE://localhost/a?b#c.jpg", b"/a?b#c.jpg"),
        ("file:///%C3%A9.jpg", "/é.jpg".encode()),
    ],
)
def test_local_path(uri: str, path: bytes) -> None:
    """A file address names bytes."""
    assert local_path(uri) == path


@pytest.mark.parametrize("uri", ["file://server/share/a.jpg", "file://", "file://a.jpg", "file:///a%00b"])
def test_no_local_path(uri: str) -> None:
    """Other machines, relative paths and zero bytes are refused."""
    with pytest.raises(Permanent) as caught:
        local_path(uri)
    assert caught.value.reason is Reason.UNSUPPORTED_URI


def test_inside() -> None:
    """Below a root means below its folder, not below its name's beginning."""
    assert is_inside(b"/data/a.jpg", [b"/data"])
    assert is_inside(b"/data", [b"/data"])
    assert is_inside(b"/x", [b"/"])
    assert not is_inside(b"/database/a.jpg", [b"/data"])
    assert not is_inside(b"/", [b"/data"])


def test_object_name() -> None:
    """A key is decoded once; a bucket without a key is refused."""
    assert object_name("s3://Bucket/a%20b/%2520.jpg") == ("Bucket", "a b/%20.jpg")
    with pytest.raises(Permanent):
        object_name("s3://bucket")


def test_scheme() -> None:
    """A scheme is told in lower case; a plain path has none."""
    assert (scheme("S3://b/k"), scheme("/data/a.jpg")) == ("s3", "")


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("file:///photos/a.jpg", None),
        ("/photos/a.jpg", None),
        ("", None),
        ("http://", None),
        ("http://me:hush@Camera:8080/a.jpg?sig=hush#hush", "http://camera:8080"),
        ("https://me:hush@[broken/a.jpg", None),
        ("https://camera/a.jpg", "https://camera"),
        ("s3://pictures/night/a.jpg", "s3://pictures"),
        ("http://[::1]:99999/a", None),
    ],
)
def test_hosts_are_named_without_secrets(uri: str, host: str | None) -> None:
    """A host's name is scheme, server and port, or the bucket."""
    assert host_of(uri) == host
