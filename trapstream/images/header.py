"""What the bytes of an image claim, before a pixel is decoded: format, size, turn.

Pillow's format classes read the header lazily, 20 to 70 microseconds an image. They are called directly rather than
through Image.open: the list of formats stays closed (no PostScript interpreter, no plug-in of the environment), and
the limit of pixels is the caller's instead of a global of Pillow's.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from trapstream.core.errors import Permanent, Reason
from trapstream.images.cost import require_few_parts, require_few_scans, require_size
from trapstream.images.sniff import Format, format_of, looks_like

_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_OPEN: dict[Format, Callable[[io.BytesIO], ImageFile]] = {
    Format.JPEG: JpegImagePlugin.JpegImageFile,
    Format.PNG: PngImagePlugin.PngImageFile,
    Format.BMP: BmpImagePlugin.BmpImageFile,
    Format.TIFF: TiffImagePlugin.TiffImageFile,
    Format.WEBP: WebPImagePlugin.WebPImageFile,
    Format.GIF: GifImagePlugin.GifImageFile,
    Format.AVIF: AvifImagePlugin.AvifImageFile,
}
_END_OF_JPEG = b"\xff\xd9"
_TRAILER = 65_536
"""Cameras append up to this much after the end of the JPEG."""


@dataclass(frozen=True, slots=True)
class Header:
    """A decodable image's header."""

    format: Format
    width: int
    """After the EXIF turn."""
    height: int
    orientation: int
    """1 to 8, as EXIF counts; what is not one of them is 1."""
    direct: bool
    """Whether DALI is tried: for a JPEG that is not cut short. The rest is Pillow's: DALI refuses some of it, at the
    price of a second run of the batch, and reads PNG by OpenCV, which allocates gigabytes for a damaged length."""

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def read_header(data: bytes, max_pixels: int) -> Header:
    """The header of `data`.

    Permanent: EMPTY_FILE; NOT_AN_IMAGE with what it looks like; DAMAGED for a known format whose header cannot be
    read; TOO_MANY_PIXELS before anything of that size is allocated; TOO_COSTLY for a JPEG of too
    many scans, or a TIFF of too many or too long parts.
    """
    if not data:
        raise Permanent(Reason.EMPTY_FILE)
    form = format_of(data)
    if form is None:
        raise Permanent(Reason.NOT_AN_IMAGE, looks_like(data))
    try:
        header = _inspect(data, form, max_pixels)
    except Permanent:
        raise
    except Exception:  # Pillow's formats raise nearly every class; each means the same here
        raise Permanent(Reason.DAMAGED, f"{form}: the header cannot be read") from None
    if header.width < 1 or header.height < 1:
        raise Permanent(Reason.DAMAGED, f"{form}: the header claims {header.width} x {header.height} pixels")
    return header


def _inspect(data: bytes, form: Format, max_pixels: int) -> Header:
    if form is Format.TIFF:  # before Pillow opens it, which makes a list of its parts
        require_few_parts(data, max_pixels)
    with open_image(data, form) as image:
        width, height = _raw_size(image)
        require_size(width, height, max_pixels)
        if form is Format.JPEG:
            require_few_scans(data, width, height, max_pixels)
        orientation = _orientation(image, data)
        direct = form is Format.JPEG and _has_end(data)
    if orientation >= 5:
        width, height = height, width
    return Header(form, int(width), int(height), orientation, direct)


def open_image(data: bytes, form: Format) -> ImageFile:
    """Pillow's lazy image of `data`; nearly any exception where even the header cannot be read."""
    return _OPEN[form](io.BytesIO(data))


def _raw_size(image: ImageFile) -> tuple[int, int]:
    """Width and height as stored. Pillow's TIFF class, alone among them, tells those after the turn."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
    return image.size


def _orientation(image: ImageFile, data: bytes) -> int:
    late = b"eXIf" in data and "exif" not in image.info
    try:
        # PNG's own getexif decodes the whole picture to find a block behind the pixels: only where there is one.
        lazy = isinstance(image, PngImagePlugin.PngImageFile) and not late
        exif = Image.Image.getexif(image) if lazy else image.getexif()
        found = exif.get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block turns nothing
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _has_end(jpeg: bytes) -> bool:
    return jpeg.rfind(_END_OF_JPEG, max(len(jpeg) - _TRAILER, 2)) >= 0
