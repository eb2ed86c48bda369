"""The format of a file, and the name of what is none, told from its bytes."""

import asyncio
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from producer.live.incoming import InHand, NoImage, Spool, prepare
from tests import images
from tests.unit.images.tiffs import PICTURE, Page, tiff
from trapstream.core.errors import Permanent, Reason
from trapstream.images import sniff
from trapstream.images.header import read_header
from trapstream.images.pillow_decode import pillow_decode
from trapstream.images.sniff import Format, format_of, looks_like

MOST = 1_000_000
RAW = "a camera's raw file"
SENSOR, LINEAR = 32803, 34892
DNG_VERSION: Page = {50706: 0x0401}


def boxed(*brands: bytes, data: bytes = b"") -> bytes:
    """A file of boxes: its major brand and the compatible ones, then `data`."""
    return struct.pack(">I", 16 + 4 * (len(brands) - 1)) + b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:]) + data


RAW_FILES = {
    "Nikon NEF": tiff(PICTURE | {254: 1}, inner=({254: 0, 262: SENSOR},)),
    "DNG with a preview first": tiff(PICTURE | {254: 1} | DNG_VERSION, inner=({254: 0, 262: SENSOR},)),
    "DNG with the sensor's values first": tiff(PICTURE | {254: 0, 262: SENSOR} | DNG_VERSION),
    "DNG, linear": tiff(PICTURE | {262: LINEAR} | DNG_VERSION, order=">"),
    "BigTIFF DNG": tiff(PICTURE | {254: 1} | DNG_VERSION, big=True),
    "Sony ARW": tiff(PICTURE | {254: 1, 259: 6}, {254: 1}, inner=({254: 0, 259: 32767, 262: SENSOR},)),
    "Samsung SRW, not marked": tiff(PICTURE, {254: 1}, inner=({262: SENSOR},)),
    "Pentax PEF": tiff({254: 0, 259: 65535, 262: SENSOR}, PICTURE | {254: 1}, order=">"),
    "the sensor's values on the second page": tiff(PICTURE, PICTURE | {262: SENSOR}),
    "the second of two inside": tiff(PICTURE, inner=({254: 1}, {262: LINEAR})),
    "Canon CR2": b"II*\0\x10\0\0\0CR\x02\0" + tiff(PICTURE)[12:],
    "Phase One IIQ": b"II*\0\x08\0\0\0IIIIwaR\0",
    "Canon CRW": b"II\x1a\0\0\0HEAPCCDR\x02\0",
    "Canon CR3": boxed(b"crx ", b"crx ", b"isom"),
    "Olympus ORF": b"IIRO\x08\0\0\0",
    "Olympus ORF, older": b"IIRS\x08\0\0\0",
    "Olympus ORF, big-endian": b"MMOR\0\0\0\x08",
    "Panasonic RW2": b"IIU\0\x18\0\0\0",
    "Fujifilm RAF": b"FUJIFILMCCD-RAW 0201",
    "Minolta MRW": b"\0MRM\0\0\0\0",
    "Sigma X3F": b"FOVb\0\0\x02\0",
}


@pytest.mark.parametrize("name", RAW_FILES)
def test_raw_files_are_named(name: str) -> None:
    """A camera's raw file of any maker is no image, and is called what it is."""
    data = RAW_FILES[name] + bytes(100)
    with pytest.raises(Permanent) as refused:
        read_header(data, MOST)
    assert (refused.value.reason, refused.value.detail) == (Reason.NOT_AN_IMAGE, RAW)


@pytest.mark.parametrize("mark", [{254: 1}, {254: 5}, {255: 2}])
def test_a_reduced_first_page_is_no_photograph(mark: Page) -> None:
    """A TIFF that begins with a preview is refused, whoever wrote it."""
    for data in (tiff(PICTURE | mark), tiff(PICTURE | mark, PICTURE)):
        assert format_of(data) is None
        assert looks_like(data) == f"{RAW}, or another TIFF whose first page is a reduced image"


ORDINARY = {
    "one page": tiff(PICTURE),
    "marked as whole": tiff(PICTURE | {254: 0, 255: 1}),
    "a page of several": tiff(PICTURE | {254: 2}, PICTURE | {254: 2}),
    "a thumbnail behind it": tiff(PICTURE, PICTURE | {254: 1}),
    "smaller copies inside": tiff(PICTURE, inner=(PICTURE | {254: 1}, PICTURE | {254: 1})),
    "directories inside that are not there": tiff(PICTURE | {330: (90_000, 4_000_000_000)}),
    "pages in a circle": tiff(PICTURE, PICTURE)[:-4] + bytes(4),
    "big-endian": tiff(PICTURE, order=">"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_tiffs_stay_images(name: str) -> None:
    """However small, a TIFF whose first page is the picture is read."""
    data = ORDINARY[name]
    header = read_header(data, MOST)
    assert (header.format, header.width, header.height) == (Format.TIFF, 8, 6)
    assert (pillow_decode(data, header) == images.pixels(data)).all()


def test_a_small_tiff_of_pillow_is_an_image() -> None:
    """A plain picture of a thumbnail's size is one."""
    assert format_of(images.encode(images.scene(160, 120), "TIFF")) is Format.TIFF


HEADS = [
    (b"II*\0", "<", False),
    (b"MM\0*", ">", False),
    (b"II\0*", "<", False),
    (b"MM*\0", ">", False),
    (b"II+\0", "<", True),
]


@pytest.mark.parametrize(("head", "order", "big"), HEADS, ids=str)
def test_every_head_of_a_tiff_that_pillow_reads(head: bytes, order: str, big: bool) -> None:
    """Classic, swapped (as RDF files have it) and BigTIFF: the pixels are Pillow's."""
    data = tiff(PICTURE, order=order, big=big, head=head)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "TIFF"
    header = read_header(data, MOST)
    assert (pillow_decode(data, header) == images.pixels(data)).all()
    assert np.array_equal(pillow_decode(data, header)[..., 0].ravel(), np.arange(48))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [1, 8, 32773])
def test_a_bigtiff_is_read_as_its_classic_form(compression: int, orientation: int) -> None:
    """Plain, deflated or in PackBits, at every orientation: one header, the same pixels."""
    plain = bytes(range(48))
    strip = {1: plain, 8: zlib.compress(plain), 32773: b"\x2f" + plain}[compression]
    page = PICTURE | {259: compression, 274: orientation, 279: len(strip)}
    small, big = (tiff(page, big=form, strip=strip) for form in (False, True))
    header = read_header(big, MOST)
    assert header == read_header(small, MOST)
    found = pillow_decode(big, header)
    assert np.array_equal(found, pillow_decode(small, header))
    with Image.open(io.BytesIO(small)) as image:
        assert np.array_equal(found, np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def test_a_bigtiff_of_pillows_own() -> None:
    """As Pillow writes it."""
    scene = images.scene(90, 60)
    data = images.encode(scene, "TIFF", big_tiff=True)
    assert data.startswith(b"II+\0")
    assert np.array_equal(pillow_decode(data, read_header(data, MOST)), np.asarray(scene))


def test_a_bigtiff_that_pillow_misreads_is_named() -> None:
    """Pillow takes one of the byte order MM for a classic file: it is refused with its name."""
    data = tiff(PICTURE, order=">", big=True)
    assert format_of(data) is None
    assert looks_like(data) == "it looks like a BigTIFF of the byte order MM, which is not read"


def test_a_bigtiff_is_as_bounded_as_a_classic_one() -> None:
    """Too many pixels, a directory without end, or offsets beyond the file: refused before Pillow sees it."""
    wide = tiff(PICTURE | {256: 100_000, 257: 100_000}, big=True)
    endless = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**40) + bytes(10_000)
    far = b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63 + 5) + bytes(100)
    found = []
    for data in (wide, endless, far):
        with pytest.raises(Permanent) as refused:
            read_header(data, MOST)
        found.append(refused.value.reason)
    assert found == [Reason.TOO_MANY_PIXELS, Reason.DAMAGED, Reason.DAMAGED]


@pytest.mark.parametrize("major", [b"mif1", b"msf1", b"miaf", b"MA1B"])
def test_avif_by_its_compatible_brands(major: bytes) -> None:
    """An AVIF is one whatever brand comes first, and has the pixels of the plain file."""
    plain = images.encode(images.scene(96, 64), "AVIF")
    assert plain[8:12] == b"avif"
    data = plain[:8] + major + plain[12:]
    header = read_header(data, MOST)
    assert (header.format, header.width, header.height) == (Format.AVIF, 96, 64)
    assert (pillow_decode(data, header) == images.pixels(plain)).all()


def test_a_sequence_of_avif_gives_its_first_frame() -> None:
    """Its brand is one of its own."""
    frames = [images.scene(96, 64, seed) for seed in (1, 2)]
    data = images.encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert data[8:12] == b"avis"
    for one in (data, data[:8] + b"msf1" + data[12:]):
        header = read_header(one, MOST)
        assert (pillow_decode(one, header) == images.pixels(data)).all()


HEIC = ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "miaf", "heif", "1pic"]


@pytest.mark.parametrize("brand", HEIC)
def test_heic_of_every_brand(brand: str) -> None:
    """HEIC is called so, by its major brand or by a compatible one, and never a video."""
    for data in (boxed(brand.encode()), boxed(b"MSNV", b"iso8", brand.encode())):
        assert format_of(data) is None
        assert looks_like(data) == "it looks like HEIC, which is not read"
    assert format_of(boxed(b"heic", b"mif1", b"avif")) is None


@pytest.mark.parametrize("brands", [(b"isom", b"iso2", b"avc1", b"mp41"), (b"qt  ",), (b"3gp4",), (b"M4V ", b"mp42")])
def test_videos_are_videos(brands: tuple[bytes, ...]) -> None:
    """Files of boxes that hold no pictures."""
    assert format_of(boxed(*brands)) is None
    assert looks_like(boxed(*brands)) == "it looks like a video"


@pytest.mark.parametrize("data", [b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_is_named(data: bytes) -> None:
    """Bare and in boxes."""
    assert looks_like(data) == "it looks like JPEG XL, which is not read"


@pytest.mark.parametrize("name", RAW_FILES)
def test_uploads_of_raw_files_are_refused(tmp_path: Path, name: str) -> None:
    """The door knows them by their first bytes, as it knows everything that is no image."""

    async def send() -> None:
        prepare(tmp_path)
        with Spool(tmp_path, 2_000_000, InHand()) as spool:
            await spool.add(RAW_FILES[name] + bytes(100_000))
            spool.check()

    with pytest.raises(NoImage, match="it is no image: a camera's raw file"):
        asyncio.run(send())


def test_any_beginning_of_a_file_has_an_answer() -> None:
    """Cut anywhere, every kind is told or refused, never with an error."""
    for data in (*RAW_FILES.values(), *ORDINARY.values(), boxed(b"mif1", b"avif"), tiff(PICTURE, big=True)):
        for end in range(len(data)):
            if sniff.format_of(data[:end]) is None:
                assert sniff.looks_like(data[:end])
