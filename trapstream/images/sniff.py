"""What a file is, told from its first bytes."""

import codecs
from enum import StrEnum


class Format(StrEnum):
    """The image formats that are read. The same list as MegaDetector's."""

    JPEG = "JPEG"
    PNG = "PNG"
    BMP = "BMP"
    TIFF = "TIFF"
    WEBP = "WebP"
    GIF = "GIF"
    AVIF = "AVIF"


_STARTS: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"BM", Format.BMP),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"RIFF", "a RIFF file, sound or video"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000, which is not read"),
    (b"\xd0\xcf\x11\xe0", "an Office document or a Windows thumbnail store"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_BRANDS = {b"avif": Format.AVIF, b"avis": Format.AVIF}


def format_of(data: bytes) -> Format | None:
    """The image format of `data`; None for anything else."""
    for start, form in _STARTS:
        if data.startswith(start):
            return form
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return None


def looks_like(data: bytes) -> str:
    """For people: what `data`, which is no image, looks like."""
    for start, name in _OTHERS:
        if data.startswith(start):
            return f"it looks like {name}"
    if data[4:8] == b"ftyp":
        heic = data[8:12] in {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}
        return "it looks like " + ("HEIC, which is not read" if heic else "a video")
    head = data[:512]
    if not head.strip(b"\0"):
        return "it begins with zero bytes only"
    return f"it looks like {_text(head)}"


def _text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith((b"<?xml", b"<svg")):
        return "XML"
    if start.startswith((b"{", b"[")):
        return "JSON"
    if any(byte < 32 and byte not in b"\t\r\n\f" for byte in head):
        return "other data"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the last character may be cut
    except UnicodeDecodeError:
        return "other data"
    return "text"
