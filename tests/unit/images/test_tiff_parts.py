"""What a TIFF makes its decoder go through: told from its directory, and refused where it is out of all proportion."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import images
from trapstream.core.errors import Permanent, Reason
from trapstream.images.cost import read_parts
from trapstream.images.header import read_header

WIDTH, HEIGHT = 64, 48
ROW = zlib.compress(bytes(3 * WIDTH))
MOST = 1_000_000


def refusal(data: bytes) -> Permanent:
    with pytest.raises(Permanent) as refused:
        read_header(data, MOST)
    return refused.value


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK"])
def test_ordinary_files_pass(compression: str | None, mode: str) -> None:
    """Whatever the mode and the compression, a file as programs write it is no longer in parts than it is."""
    if compression == "jpeg" and mode == "1":
        compression = "group4"
    options = {} if compression is None else {"compression": compression}
    data = images.encode(images.scene(640, 480).convert(mode), "TIFF", **options)
    found = read_parts(data)
    assert (found.width, found.height, found.compressed) == (640, 480, compression is not None)
    assert 0 < found.count <= found.most
    assert found.packed <= len(data)
    assert read_header(data, MOST).pixels == 640 * 480


def test_rows_of_their_own_pass() -> None:
    """A strip a row is usual, and its bytes are its own."""
    data = images.tiff([(len(ROW) * row, len(ROW)) for row in range(HEIGHT)], ROW * HEIGHT)
    assert read_parts(data).packed == len(ROW) * HEIGHT
    assert read_header(data, MOST).pixels == WIDTH * HEIGHT
    assert (images.pixels(data) == 0).all()


def test_the_same_bytes_again_and_again() -> None:
    """Strips that share their bytes, or have no size and so go to the file's end, are refused before they are read."""
    data = bytes(1_000) + ROW
    for length in (len(data), 0, 2**32 - 1):
        failure = refusal(images.tiff([(0, length)] * HEIGHT, data))
        assert failure.reason is Reason.TOO_COSTLY
        assert "bytes in strips or tiles of a file of" in failure.detail
    assert read_header(images.tiff([(0, 3 * WIDTH)] * HEIGHT, bytes(3 * WIDTH), compression=1), MOST)


def test_more_parts_than_pixels_need() -> None:
    """Pillow makes a list of them, so they are counted before it sees the file."""
    failure = refusal(images.tiff([(0, 3 * WIDTH)] * 1_000, bytes(3 * WIDTH), compression=1))
    assert (failure.reason, failure.detail) == (
        Reason.TOO_COSTLY, "1000 strips or tiles of an image of 64 x 48 pixels"
    )  # fmt: skip
    failure = refusal(images.tiff([(0, 1)] * 1_000, b"x", (2**31, 2**31)))
    assert failure.reason is Reason.TOO_MANY_PIXELS


@given(data=st.binary(max_size=120), cut=st.integers(8, 700))
def test_any_bytes_have_an_answer(data: bytes, cut: int) -> None:
    """Whatever the directory holds, the file is read, damaged or refused, and nothing else happens."""
    whole = images.tiff([(0, len(ROW))] * HEIGHT, ROW)
    for bad in (b"II*\0" + data, b"MM\0*" + data, whole[:cut] + data, whole[: -len(data) or None] + data):
        try:
            read_header(bad, MOST)
        except Permanent as failure:
            assert failure.reason in {Reason.DAMAGED, Reason.TOO_COSTLY, Reason.TOO_MANY_PIXELS}
