"""Makers of test images: each returns the bytes of a file. Drawn from a seed, so that every run sees the same."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with smooth areas, edges and some noise: what a decoder and a resize can get wrong."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    noise = rng.integers(-12, 13, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """`image` as a file of a Pillow format."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def jpeg(width: int = 320, height: int = 240, seed: int = 0, **options: object) -> bytes:
    """A colour JPEG."""
    return encode(scene(width, height, seed), "JPEG", **{"quality": 90, **options})


def png(width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    """A colour PNG."""
    return encode(scene(width, height, seed), "PNG")


def truncated(data: bytes, share: float = 0.5) -> bytes:
    """The first `share` of a file: a card pulled while it was written."""
    return data[: int(len(data) * share)]


def scrambled(data: bytes, seed: int = 0, count: int = 200) -> bytes:
    """A JPEG with random bytes in the middle of its scan. The markers stay whole."""
    rng = np.random.default_rng(seed)
    middle = len(data) // 2
    return data[:middle] + rng.integers(0, 255, count, dtype=np.uint8).tobytes() + data[middle + count :]


def damaged_exif() -> bytes:
    """A turned JPEG whose EXIF block claims too many fields and whose scan holds a stray marker."""
    data = bytearray(oriented(6, 96, 72))
    fields = data.index(b"Exif\0\0") + len(b"Exif\0\0") + 9
    data[fields] = 0x78
    for place in (0.3, 0.5, 0.7, 0.8, 0.9):
        data[int(len(data) * place)] = 0xFF
        data[int(len(data) * place) + 1] = 0x78
    return bytes(data)


def damaged_length() -> bytes:
    """A PNG with a chunk that claims two gigabytes."""
    data = bytearray(png())
    place = data.index(b"IDAT") - 4
    data[place : place + 4] = b"\x7f\xff\xff\xff"
    return bytes(data)


def many_scans(scans: int, width: int = 320, height: int = 240) -> bytes:
    """A JPEG of ten scans as Pillow writes it, and further ones of ten bytes each, `scans` in all."""
    whole = jpeg(width, height, progressive=True)
    return whole[:-2] + SCAN * (scans - 10) + whole[-2:]


def cmyk(width: int = 320, height: int = 240) -> bytes:
    """A JPEG in CMYK."""
    return encode(scene(width, height).convert("CMYK"), "JPEG", quality=90)


def grey(width: int = 320, height: int = 240, orientation: int = 1) -> bytes:
    """A greyscale JPEG, as infra-red cameras write them at night."""
    return encode(scene(width, height).convert("L"), "JPEG", quality=90, exif=_exif(orientation))


def oriented(orientation: int, width: int = 320, height: int = 240, form: str = "JPEG") -> bytes:
    """An image with an EXIF orientation, 1 to 8."""
    options: dict[str, object] = {"lossless": True} if form == "WEBP" else {"quality": 90} if form == "JPEG" else {}
    return encode(scene(width, height), form, exif=_exif(orientation), **options)


def palette(form: str = "PNG", transparent: bool = False) -> bytes:
    """A palette image."""
    image = scene(320, 240).quantize(64)
    return encode(image, form, transparency=3) if transparent else encode(image, form)


def grey16(width: int = 320, height: int = 240) -> bytes:
    """A 16-bit greyscale PNG over the full range."""
    wide = np.asarray(scene(width, height).convert("L")).astype(np.uint16) * 257
    return encode(Image.fromarray(wide), "PNG")


def bomb(width: int = 100_000, height: int = 100_000) -> bytes:
    """A PNG of a few bytes whose header claims a huge size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def tiff(places: list[tuple[int, int]], data: bytes, size: tuple[int, int] = (64, 48), compression: int = 8) -> bytes:
    """A TIFF of strips of one row of RGB: (offset in `data`, bytes) of each."""
    count, arrays = len(places), 8 + len(data)
    bits = arrays + 8 * count
    fields = [
        (256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 3, bits), (259, 4, 1, compression), (262, 4, 1, 2),
        (273, 4, count, arrays), (277, 4, 1, 3), (278, 4, 1, 1), (279, 4, count, arrays + 4 * count),
    ]  # fmt: skip
    numbers = [8 + begin for begin, _ in places] + [length for _, length in places]
    directory = b"".join(struct.pack("<HHII", *field) for field in fields)
    tail = struct.pack(f"<{2 * count}I3HxxH", *numbers, 8, 8, 8, len(fields))
    return struct.pack("<2sHI", b"II", 42, bits + 8) + data + tail + directory + bytes(4)


def pixels(data: bytes) -> NDArray[np.uint8]:
    """What Pillow reads of a file, as it lies, in RGB [h, w, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x10"
"""The head of a scan that refines the first component's means, without data."""
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
TEXT = b"camera 7, battery low\n" * 20
