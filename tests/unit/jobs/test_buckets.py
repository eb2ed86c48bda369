"""Listing a bucket that holds names which the store's client cannot read."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest

from trapstream.jobs import buckets
from trapstream.jobs.manifest import Notes, SourceError

PAGE = 1000


def _escaped(key: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "/._-" else f"&#{ord(sign)};" for sign in key)


class Bucket(ThreadingHTTPServer):
    """An S3 server with one bucket, which can only be listed."""

    keys: list[str]

    def page(self, query: dict[str, list[str]]) -> bytes:
        """One page of a listing, as S3 writes it."""
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        rows: list[str] = []
        last = ""
        for key in sorted(self.keys, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= after.encode():
                continue
            if len(rows) == PAGE:
                break
            step, slash, _ = key[len(prefix) :].partition("/")
            row = f"<Contents><Key>{_escaped(key)}</Key><Size>1</Size>"
            row += f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{hash(key)}</ETag></Contents>"
            if "delimiter" in query and slash:
                row = f"<CommonPrefixes><Prefix>{_escaped(prefix + step)}/</Prefix></CommonPrefixes>"
            if row not in rows:
                rows.append(row)
            last = key
        more = len(rows) == PAGE
        token = f"<NextContinuationToken>{_escaped(last)}</NextContinuationToken>" if more else ""
        text = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(rows)}"
        return f"<ListBucketResult><Name>cams</Name>{text}</ListBucketResult>".encode()


class _Handler(BaseHTTPRequestHandler):
    server: Bucket

    def do_GET(self) -> None:
        body = self.server.page(parse_qs(urlsplit(self.path).query))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def listed(bucket: Bucket, url: str, notes: Notes) -> list[str]:
    """The names of the images below `url`."""
    store = obstore.store.S3Store(
        "cams",
        endpoint=f"http://127.0.0.1:{bucket.server_port}",
        client_options={"allow_http": True},
        access_key_id="key",
        secret_access_key="hush",
        region="us-east-1",
        virtual_hosted_style_request=False,
    )
    return [line.file for line in buckets.images(url, notes, lambda _: store)]


@pytest.mark.parametrize("odd", ["x//A.JPG", "x/./A.JPG", "x/../A.JPG", "x/Icon\r", "x/a\x7f.JPG", 'x/\t"\\.JPG'])
@pytest.mark.parametrize("url", ["s3://cams", "s3://cams/"])
def test_an_odd_name_costs_no_other_folder(bucket: Bucket, odd: str, url: str) -> None:
    """What lies in other folders is listed whole, also on its page; the name is noted, and an image is an entry."""
    bucket.keys = [
        odd,
        *(f"{folder}/{number:04}.jpg" for folder in "awyz" for number in range(700)),
        "x/z.jpg",
        "b.jpg",
    ]
    notes = Notes()
    found = listed(bucket, url, notes)
    expected = {*bucket.keys} - {"x/Icon\r"}
    assert (sorted(found), len(found)) == (sorted(expected), len(expected))
    assert list(notes.counts.values()) == [1] and "missing" in notes.lines()[0]


def test_a_folder_goes_on_behind_each_odd_name(bucket: Bucket) -> None:
    """Every one of them is an entry of its own, and what stands behind it is listed."""
    odd = [f"x/{number}\n.jpg" for number in range(9)]
    bucket.keys = [*odd, *(f"x/{number}a.jpg" for number in range(9))]
    notes = Notes()
    found = listed(bucket, "s3://cams/x", notes)
    assert {f"{number}\n.jpg" for number in range(9)} <= set(found) and "8a.jpg" in found
    assert list(notes.counts.values()) == [9]


def test_names_that_begin_with_a_slash_are_no_other_objects(bucket: Bucket) -> None:
    """A listing gives them without the slash, which would read other objects' pixels: they are noted instead."""
    bucket.keys = ["/x/A.JPG", "x/A.JPG", "-a.jpg", "b.jpg"]
    notes = Notes()
    assert listed(bucket, "s3://cams", notes) == ["-a.jpg", "b.jpg", "x/A.JPG"]
    assert notes.lines() and "s3://cams//" in notes.lines()[0]
    bucket.keys = ["x/A.JPG", "0", "b.jpg"]
    assert listed(bucket, "s3://cams", Notes()) == ["b.jpg", "x/A.JPG"]


@pytest.mark.parametrize(
    "url", ["s3://cams//x", "s3://cams/x//y", "s3://cams/x//", "s3://cams//A.JPG", "s3://cams/../x"]
)
def test_a_prefix_that_cannot_be_asked_for_is_refused(bucket: Bucket, url: str) -> None:
    """One line, and not the images of another prefix."""
    bucket.keys = ["x/A.JPG", "A.JPG", "x/y/A.JPG"]
    with pytest.raises(SourceError, match="cannot read"):
        listed(bucket, url, Notes())


def test_a_folder_named_as_an_image_is_a_folder(bucket: Bucket) -> None:
    """Where the address ends with a slash."""
    bucket.keys = ["cam.jpg/a.jpg"]
    assert listed(bucket, "s3://cams/cam.jpg/", Notes()) == ["a.jpg"]
