"""The brushes that every drawing here shares: noise, smooth outlines, limbs, rounded shading, and figures cut out.

Sizes are (width, height) in pixels. Figures are drawn at twice their size and reduced, which smooths their edges.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

Colour = tuple[int, int, int]
Point = tuple[float, float]
Rng = np.random.Generator
Array = npt.NDArray[Any]

SMOOTHING = 2
CIRCLE = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(18)]


@dataclass(frozen=True)
class Pen:
    """A transparent sheet with its own units: x to the right, y down, (0, 0) at `origin` pixels."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    scale: float
    origin: Point

    def at(self, x: float, y: float) -> Point:
        """The pixel of a point given in the sheet's units."""
        return self.origin[0] + x * self.scale, self.origin[1] + y * self.scale


def sheet(left: float, top: float, right: float, bottom: float, scale: float) -> Pen:
    """A sheet that shows the given extent (in units) at `scale` pixels a unit."""
    size = (max(2, math.ceil((right - left) * scale)), max(2, math.ceil((bottom - top) * scale)))
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    return Pen(image, ImageDraw.Draw(image), scale, (-left * scale, -top * scale))


def vary(rng: Rng, colour: Colour, amount: int) -> Colour:
    """The colour, a little lighter or darker (by up to `amount`) and a little off in hue."""
    shift = rng.integers(-amount, amount + 1)
    hue = rng.integers(-amount // 4 - 1, amount // 4 + 2, 3)
    r, g, b = (int(min(255, max(0, c + shift + d))) for c, d in zip(colour, hue, strict=True))
    return r, g, b


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour at share `t` of the way from `a` to `b`."""
    r, g, bl = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return r, g, bl


def pick(rng: Rng, items: Sequence[Colour]) -> Colour:
    """One of the colours."""
    return items[int(rng.integers(len(items)))]


def noise(rng: Rng, size: tuple[int, int], cell_x: float, cell_y: float) -> Image.Image:
    """Smooth random greys (mode L) whose patches are about cell_x by cell_y pixels."""
    width, height = size
    shape = (max(2, math.ceil(height / cell_y)), max(2, math.ceil(width / cell_x)))
    grid = rng.integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def fractal(rng: Rng, size: tuple[int, int], cell: float, stretch: float = 1.0, octaves: int = 3) -> Image.Image:
    """Noise with detail at several sizes (mode L); `stretch` above 1 makes it wider than tall."""
    result = noise(rng, size, cell * stretch, cell)
    for step in range(1, octaves):
        small = max(2.0, cell / 3**step)
        result = Image.blend(result, noise(rng, size, small * stretch, small), 0.42)
    return result


def table(curve: Callable[[int], float]) -> list[int]:
    """A look-up table for the 256 grey levels, rounded and kept within 0 to 255."""
    return [min(255, max(0, round(curve(level)))) for level in range(256)]


def disc(size: tuple[int, int], levels: Sequence[int]) -> Image.Image:
    """A mask (mode L) whose greys follow `levels` from its middle (entry 0) to its rim (entry 255)."""
    whole = Image.radial_gradient("L").reduce(2).point(levels)
    return whole.resize((max(2, size[0]), max(2, size[1])), Image.Resampling.BILINEAR, reducing_gap=1.0)


def rise(size: tuple[int, int]) -> Image.Image:
    """A mask (mode L) from 0 at the top to 255 at the bottom."""
    return Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)


def smooth(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """A closed Catmull-Rom curve through the points."""
    p1 = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


def polygon(pen: Pen, points: Sequence[Point], colour: Colour) -> None:
    """A filled outline."""
    pen.draw.polygon([pen.at(x, y) for x, y in points], fill=(*colour, 255))


def ellipse(pen: Pen, x: float, y: float, rx: float, ry: float, colour: Colour, angle: float = 0.0) -> None:
    """A filled ellipse around (x, y), turned clockwise by `angle` radians."""
    if angle == 0.0:
        pen.draw.ellipse([*pen.at(x - rx, y - ry), *pen.at(x + rx, y + ry)], fill=(*colour, 255))
        return
    cos, sin = math.cos(angle), math.sin(angle)
    polygon(pen, [(x + u * rx * cos - v * ry * sin, y + u * rx * sin + v * ry * cos) for u, v in CIRCLE], colour)


def limb(pen: Pen, points: Sequence[Point], widths: Sequence[float], colour: Colour) -> None:
    """A tapered tube through the points; `widths` are its full widths at each."""
    for (ax, ay), (bx, by), wa, wb in zip(points, points[1:], widths, widths[1:], strict=False):
        length = math.hypot(bx - ax, by - ay) or 1e-6
        nx, ny = -(by - ay) / length / 2, (bx - ax) / length / 2
        left, right = (ax + nx * wa, ay + ny * wa), (ax - nx * wa, ay - ny * wa)
        polygon(pen, [left, (bx + nx * wb, by + ny * wb), (bx - nx * wb, by - ny * wb), right], colour)
    for (x, y), width in zip(points, widths, strict=True):
        ellipse(pen, x, y, width / 2, width / 2, colour)


def finish(pen: Pen, rng: Rng, strength: float = 1.0, grain: float = 0.25) -> Image.Image:
    """The sheet reduced to its true size, as if lit from above: its alpha is a height, and its surface has a grain."""
    image = pen.image.reduce(SMOOTHING)
    width, height = image.size
    scale = min(1.0, 64 / max(width, height))
    small = (max(2, round(width * scale)), max(2, round(height * scale)))
    alpha = image.getchannel("A")
    depth = np.asarray(alpha.resize(small, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(max(small) * 0.07)))
    slope = np.gradient(depth.astype(np.float32), axis=0) * 1.6 + np.gradient(depth.astype(np.float32), axis=1) * 0.5
    light = np.clip(128 + slope * 6 * strength + np.linspace(18, -22, small[1])[:, None] * strength, 30, 225)
    relief = Image.fromarray(light.astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    fine = noise(rng, image.size, max(1.5, width / 90), max(1.5, height / 60))
    relief = Image.blend(relief, fine, grain)
    flat = image.convert("RGB")
    grey = Image.merge("RGB", (relief,) * 3)
    colour = Image.blend(ImageChops.soft_light(flat, grey), ImageChops.overlay(flat, grey), 0.4)
    colour.putalpha(alpha)
    return colour


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


def tinted(mask: Image.Image, dark: Colour, light: Colour) -> Image.Image:
    """Grey noise turned into colours from `dark` (0) to `light` (255)."""
    return ImageOps.colorize(mask, dark, light)
