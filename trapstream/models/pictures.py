"""The images of a check, as the consumer would give them to the network: its own decoder and letterbox."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trapstream.core.errors import Permanent
from trapstream.images.decode import Decoder, Encoded
from trapstream.models.card import Card
from trapstream.models.check import Picture
from trapstream.scenes.scene import draw_scene

SEEDS = tuple(5_000_000 + number for number in (0, 2, 4, 5, 6, 7, 8, 10, 11, 12, 18, 19))
"""The first drawn scenes with something in them that the demonstration model was neither trained nor measured on."""
SIZES = ((640, 480), (480, 640), (640, 360))
"""Width and height, by turns: each is another shape for the network."""
_MAX_PIXELS = 200_000_000
_QUALITY = 88


def drawn(card: Card, count: int = len(SEEDS)) -> Iterator[Picture]:
    """The first `count` drawn scenes, always the same."""
    chosen = zip(SEEDS[:count], itertools.cycle(SIZES), strict=False)
    yield from letterboxed(card, ((f"drawn scene {seed}", _scene(seed, size)) for seed, size in chosen))


def in_folder(card: Card, folder: Path, skipped: list[str]) -> Iterator[Picture]:
    """The images below a folder, in the order of their names; what is no image goes to `skipped`. OSError."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    yield from letterboxed(card, ((_text(path.relative_to(folder)), path.read_bytes()) for path in files), skipped)


def letterboxed(card: Card, images: Iterable[tuple[str, bytes]], skipped: list[str] | None = None) -> Iterator[Picture]:
    """Named encoded images as pictures, one at a time; names of those that cannot be decoded go to `skipped`."""
    decoder = Decoder(batch=1, threads=1, device="cpu", max_pixels=_MAX_PIXELS)
    for name, data in images:
        [decoded] = decoder.decode([Encoded(data, card.image_size, card.stride, card.fixed, card.stretch)])
        if isinstance(decoded, Permanent):
            if skipped is not None:
                skipped.append(name)
            continue
        yield Picture(name, decoded.pixels, (decoded.letterbox.width, decoded.letterbox.height))


def _text(path: Path) -> str:
    """Valid Unicode, whatever bytes are in the path."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _scene(seed: int, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    draw_scene(seed, size).image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
