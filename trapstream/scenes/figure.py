"""What a drawn figure is, and how one is cut out of its sheet."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from trapstream.scenes.canvas import SMOOTHING, Pen, Rng, finish


@dataclass(frozen=True)
class Figure:
    """A drawn figure: RGBA, cut to its outline; `eyes` are (x, y, radius) in its pixels, for night shine."""

    image: Image.Image
    eyes: tuple[tuple[float, float, float], ...] = ()


def cut(pen: Pen, rng: Rng, eyes: list[tuple[float, float, float]], mirror: bool, grain: float = 0.25) -> Figure:
    """The figure cut to its outline, perhaps mirrored, with its eyes moved along."""
    image = finish(pen, rng, grain=grain)
    left, top, right, bottom = image.getchannel("A").getbbox() or (0, 0, *image.size)
    image = image.crop((left, top, right, bottom))
    width = right - left
    moved = []
    for x, y, r in eyes:
        px, py = pen.at(x, y)
        px, py = px / SMOOTHING - left, py / SMOOTHING - top
        moved.append((width - px if mirror else px, py, max(1.2, r * pen.scale / SMOOTHING)))
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Figure(image, tuple(moved))
