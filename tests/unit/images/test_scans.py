"""The count of a JPEG's scans: what keeps a decoder at work, told from what merely looks so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import images
from trapstream.core.errors import Permanent, Reason
from trapstream.images.cost import has_more_scans
from trapstream.images.header import read_header

PIXELS = 320 * 240
PROGRESSIVE = 10
"""Scans of a colour file as libjpeg writes it."""
COMMENT = b"\xff\xfe\x00\x20" + images.SCAN * 3


def frame(start: int, scans: int, components: int = 3, before: bytes = b"") -> bytes:
    """The markers of a JPEG whose every scan has the first of its components."""
    head = b"\xff\xd8" + before + bytes((0xFF, start, 0, 8 + 3 * components, 8, 0, 9, 0, 9, components))
    return head + bytes(3 * components) + (images.SCAN + b"\x12\xff\x00\x34") * scans + b"\xff\xd9"


@given(scans=st.integers(PROGRESSIVE, 60), most=st.integers(1, 60), after=st.integers(0, 60))
def test_the_count_is_exact(scans: int, most: int, after: int) -> None:
    """As many as there are, whatever comes behind the end of the picture: a preview, a film."""
    whole = images.many_scans(scans, 32, 24) + images.SCAN * after
    assert has_more_scans(whole, most) == (scans > most)


@given(start=st.sampled_from((0xC0, 0xC1, 0xC2, 0xC9, 0xCA)), scans=st.integers(1, 40), most=st.integers(1, 40))
def test_components_that_come_one_by_one_are_counted(start: int, scans: int, most: int) -> None:
    """A file that is not progressive has as many scans as it likes too, where the first has not all components."""
    assert has_more_scans(frame(start, scans), most) == (scans > most)
    assert has_more_scans(frame(start, scans, before=COMMENT), most) == (scans > most)


def test_a_decoder_stops_behind_a_scan_that_has_everything() -> None:
    """What follows the only scan of an ordinary file is never decoded, and not counted."""
    assert not has_more_scans(frame(0xC0, 1000, components=1), 1)
    assert not has_more_scans(images.jpeg()[:-2] + images.SCAN * 1000, 1)


@given(data=st.binary(max_size=300), cut=st.integers(0, 400))
def test_any_bytes_have_an_answer(data: bytes, cut: int) -> None:
    """Whatever the bytes, it ends and does not fail."""
    for bad in (data, b"\xff\xd8" + data, images.jpeg(16, 16)[:cut] + data):
        assert not has_more_scans(bad, 1000)


def test_only_what_takes_long_is_refused() -> None:
    """The limit is on scans times pixels: 32 times the pixels that an image may have."""
    assert read_header(images.many_scans(32), PIXELS)
    assert read_header(images.many_scans(3200), 100 * PIXELS)
    with pytest.raises(Permanent) as refused:
        read_header(images.many_scans(33), PIXELS)
    assert refused.value.reason is Reason.TOO_COSTLY
    assert refused.value.detail == "more than 32 scans of 320 x 240 pixels"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_ordinary_files_pass(mode: str) -> None:
    """Progressive or not, in colour or not, an ordinary file passes, be it as large as one may be."""
    for progressive in (False, True):
        data = images.encode(Image.new(mode, (320, 240)), "JPEG", progressive=progressive)
        assert read_header(data, PIXELS).pixels == PIXELS
