"""Where the file of an image ends: at no byte before, and whatever stands behind it."""

import io
import struct
from collections.abc import Iterator

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trapstream.jobs.ends import is_whole

WHOLE_END = b"\xff\xd9"


def picture(mode: str = "RGB", size: tuple[int, int] = (37, 23), turn: int = 0) -> Image.Image:
    """A small picture with enough in it for every coder."""
    image = Image.effect_noise(size, 40 + turn).convert("RGB")
    return image.convert(mode)


def saved(form: str, image: Image.Image | None = None, **more: object) -> bytes:
    """It as a file."""
    file = io.BytesIO()
    (image or picture()).save(file, form, **more)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF block holds a whole JPEG, as cameras write it."""
    thumbnail = saved("JPEG", picture(size=(16, 12)))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail
    return saved("JPEG", exif=exif)


def with_segment(kind: int, body: bytes, jpeg: bytes | None = None) -> bytes:
    """A JPEG with one more segment behind its beginning."""
    jpeg = jpeg or saved("JPEG")
    return jpeg[:2] + bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def moving(film: bytes, *tags: str) -> bytes:
    """A phone's moving photograph: XMP says how long the film behind it is."""
    text = "".join(f"<x {tag}/>" for tag in tags)
    return with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text.encode()) + film


def bmp(bits: int, told: bool = True, height: int = 5) -> bytes:
    """A BMP of 7 pixels a row; some programs leave its size 0."""
    colours = bytes(8) if bits == 1 else b""
    rows = colours + b"\x55" * ((7 * bits + 31) // 32 * 4 * abs(height))
    head = struct.pack("<IiiHHIIiiII", 40, 7, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows) if told else 0, 0, 0, 54 + len(colours)) + head + rows


def big_endian_tiff(pixels_first: bool) -> bytes:
    """A TIFF of Motorola's order, its directory before or behind the pixels."""
    pixels, places = bytes(range(1, 61)), [8, 8 + 60]
    table = 2 + 12 * 5 + 4
    strip, at = (8, 68) if pixels_first else (8 + table, 8)
    fields = [(256, 3, 10 << 16), (257, 3, 6 << 16), (258, 3, 8 << 16), (273, 4, strip), (279, 4, 60)]
    directory = struct.pack(">H", 5) + b"".join(
        struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in fields
    )
    directory += bytes(4)
    assert places[1] == 68
    return b"MM\0*" + struct.pack(">I", at) + (pixels + directory if pixels_first else directory + pixels)


def with_end_in_a_text() -> PngInfo:
    """The name of PNG's last chunk where it is none."""
    info = PngInfo()
    info.add_text("Comment", "\0\0\0\0IEND" * 9)
    return info


def multi_picture() -> bytes:
    """Two JPEGs in one file, as stereo cameras and phones write them."""
    return saved("MPO", save_all=True, append_images=[picture(turn=9)])


FILES = {
    "jpeg": saved("JPEG"),
    "progressive": saved("JPEG", progressive=True),
    "restarts": saved("JPEG", restart_marker_blocks=1),
    "grey": saved("JPEG", picture("L")),
    "thumbnail": with_thumbnail(),
    "comment": with_segment(0xFE, b"x" + WHOLE_END + b"y" * 900 + WHOLE_END),
    "ends in every segment": with_segment(0xED, WHOLE_END * 99, with_segment(0xE7, WHOLE_END, with_thumbnail())),
    "padding before a marker": saved("JPEG")[:2] + b"\xff" * 9 + saved("JPEG")[2:],
    "multi-picture": multi_picture(),
    "micro video": moving(b"v" * 3000, 'GCamera:MicroVideoOffset="3000"'),
    "motion photo": moving(b"v" * 3000, 'Item:Length="1000"', 'Item:Length="2000"'),
    "png": saved("PNG"),
    "png with IEND in it": saved("PNG", pnginfo=with_end_in_a_text()),
    "gif": saved("GIF", picture("P")),
    "animated gif": saved("GIF", save_all=True, append_images=[picture(turn=5)], loop=0, comment=b"a;b" * 200),
    "webp": saved("WEBP"),
    "lossless webp": saved("WEBP", lossless=True),
    "animated webp": saved("WEBP", save_all=True, append_images=[picture(turn=5)]),
    "avif": saved("AVIF"),
    "animated avif": saved("AVIF", save_all=True, append_images=[picture(turn=5)]),
    "bmp": saved("BMP"),
    "bmp of 1 bit": bmp(1),
    "bmp upside down": bmp(24, height=-5),
    "bmp without a size": bmp(16, told=False),
    "tiff": saved("TIFF"),
    "tiff of pages": saved("TIFF", save_all=True, append_images=[picture(turn=5)]),
    "packed tiff": saved("TIFF", compression="tiff_lzw"),
    "big tiff": saved("TIFF", big_tiff=True),
    "tiff of Motorola": big_endian_tiff(pixels_first=False),
    "tiff with its directory last": big_endian_tiff(pixels_first=True),
}


def lengths(data: bytes) -> Iterator[int]:
    """Where an upload may pause: each byte of a small file, every few of a larger one, and all of its last ones."""
    yield from range(12, len(data), max(1, len(data) // 1500))
    yield from range(len(data) - 40, len(data))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_whole_at_its_end_and_nowhere_before(name: str) -> None:
    """For each format that is taken, and each place where an end marker may stand by chance."""
    data = FILES[name]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    early = [length for length in lengths(data) if is_whole(io.BytesIO(data[:length]))]
    assert [length for length in early if data[length:].strip(b"\0")] == []  # some writers pad their pages with zeros
    assert len(early) < 16
    assert is_whole(io.BytesIO(data))


@pytest.mark.parametrize(
    "behind", [b"\0", b"x" * 7, bytes(100_000), b"SEFT" * 40_000, b"\0\0\0\x18ftypmp42" + b"v" * 90_000]
)
@pytest.mark.parametrize("name", FILES)
def test_what_stands_behind_the_end_does_not_count(name: str, behind: bytes) -> None:
    """Padding, a maker's own notes, or a film of which the image says nothing: the file is whole."""
    assert is_whole(io.BytesIO(FILES[name] + behind))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_made_at_its_full_size_is_not_whole(name: str) -> None:
    """Windows makes a file of zeros before it copies into it."""
    data = FILES[name]
    assert not is_whole(io.BytesIO(bytes(len(data))))
    if name in ("jpeg", "progressive", "thumbnail", "png", "gif", "animated gif"):
        assert not is_whole(io.BytesIO(data[: len(data) // 2] + bytes(len(data) - len(data) // 2)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\0",
        b"GIF89a",
        b"BM",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\0\0\0\0",
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 8,
        b"RIFF\xff\xff\xff\xff",
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 8,
        b"\0\0\0\x01ftyp" + b"\xff" * 8,
    ],
)
def test_lengths_that_cannot_be_are_no_end(data: bytes) -> None:
    """Whatever a damaged head claims costs no memory, and the file waits for its minute."""
    assert not is_whole(io.BytesIO(data))


def test_what_no_format_is_known_of_counts_as_whole() -> None:
    """The API says what it is."""
    assert is_whole(io.BytesIO(b"<html>not found</html>"))


def test_a_large_scan_is_read_in_pieces() -> None:
    """A marker is found wherever the pieces end, and thousands of restarts cost little."""
    head = with_segment(0xDA, bytes(10), b"\xff\xd8")
    for length in (4094, 4095, 4096, 4097, 262_143 + 4095, 262_144 + 4095):
        scan = (b"\xff\x00\xff\xd3x" * 60_000)[:length].rstrip(b"\xff")
        scan += b"x" * (length - len(scan))
        assert is_whole(io.BytesIO(head + scan + WHOLE_END))
        assert not is_whole(io.BytesIO(head + scan + b"\xff"))
