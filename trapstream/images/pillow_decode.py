"""All but whole JPEG files: other formats, and files cut short. Pixels as MegaDetector sees them.

MegaDetector's exceptions are mended, not copied: mirrored EXIF orientations and turned greyscale JPEGs, which it
leaves as they lie, are turned here as everything else is, and CMYK and palette images, which it fails, are read.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.Image import Image

from trapstream.core.errors import Permanent, Reason
from trapstream.images.header import Header, open_image
from trapstream.images.sniff import Format
from trapstream.images.turn import turn

# A file cut short decodes with the rest grey, as MegaDetector has it. Pillow asks this global in the middle of its
# decoding loops and offers no switch for one image. Set once, here: toggling it would race with other threads.
ImageFile.LOAD_TRUNCATED_IMAGES = True


def pillow_decode(data: bytes, header: Header) -> NDArray[np.uint8]:
    """RGB pixels [height, width, 3] of the first frame, after the EXIF turn.

    Permanent(DAMAGED) where Pillow refuses as well, with a text that depends on the bytes alone.
    """
    with open_image(data, header.format) as image:
        try:
            pixels = _rgb(image)
        except Permanent:
            raise
        except Exception:  # Pillow's decoders raise nearly every class; each means the same here
            raise Permanent(Reason.DAMAGED, f"{header.format}: the pixels cannot be decoded") from None
    if header.format is not Format.TIFF:  # Pillow turns these while it loads them, and nothing else
        pixels = turn(pixels, header.orientation)
    if pixels.shape[:2] != (header.height, header.width):
        raise Permanent(Reason.DAMAGED, f"{header.format}: the pixels are not of the size in the header")
    return np.ascontiguousarray(pixels)


def _rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    image.load()
    if image.mode.startswith("I"):  # 16 bits, also inside 32; Pillow's convert would clip instead of scale
        grey = (np.clip(np.asarray(image), 0, 65_535).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    if image.mode == "F":
        raise Permanent(Reason.NOT_AN_IMAGE, f"{image.format}: floating-point pixels, no photograph")
    converted: Image = image if image.mode == "RGB" else image.convert("RGB")
    return np.asarray(converted)
