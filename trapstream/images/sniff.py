"""What a file is, told from its first bytes."""

import codecs
from enum import StrEnum

from trapstream.images import camera_raw, tiff


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
    *((start, Format.TIFF) for start in tiff.STARTS),
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
    (b"\x00\x00\x00\x0cJXL", "JPEG XL, which is not read"),
    (b"\xff\x0a", "JPEG XL, which is not read"),
    (b"MM\0+", "a BigTIFF of the byte order MM, which is not read"),
    (b"\xd0\xcf\x11\xe0", "an Office document or a Windows thumbnail store"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_AVIF = {b"avif", b"avis"}
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = _HEVC | {b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"heif", b"1pic"}
"""Brands of pictures of ISO/IEC 23008-12, coded in HEVC or in what the brand leaves open: people call them all HEIC."""
_MOST_BRANDS = 64


def format_of(data: bytes) -> Format | None:
    """The image format of `data`, or of the file that begins with it; None for anything else."""
    if camera_raw.name_of(data) is not None:
        return None
    for start, form in _STARTS:
        if data.startswith(start):
            return form
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    major, *compatible = _brands(data) or [b""]
    return Format.AVIF if major not in _HEVC and not _AVIF.isdisjoint([major, *compatible]) else None


def looks_like(data: bytes) -> str:
    """For people: what `data`, which is no image, looks like."""
    for start, name in _OTHERS:
        if data.startswith(start):
            return f"it looks like {name}"
    raw = camera_raw.name_of(data)
    if raw is not None:
        return raw
    brands = _brands(data)
    if brands:
        return f"it looks like {'a video' if _HEIF.isdisjoint(brands) else 'HEIC, which is not read'}"
    head = data[:512]
    if not head.strip(b"\0"):
        return "it begins with zero bytes only"
    return f"it looks like {_text(head)}"


def _brands(data: bytes) -> list[bytes]:
    """The brands of a file of boxes (ISO/IEC 14496-12, 4.3), the major one first; none of any other file."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4]), 16 + 4 * _MOST_BRANDS)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]


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
