"""Effects of the camera and the light: infra-red nights, weather, sun, sensor noise, the strip of text below."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from trapstream.scenes.canvas import Colour, Rng, disc, fractal, mix, table

MAKERS: tuple[tuple[str, str], ...] = (
    ("Drawn", "Fieldcam 20"),
    ("Drawn", "Nightwatch HD"),
    ("Drawn", "Trailpost S2"),
)


@dataclass(frozen=True)
class Glow:
    """Something that shines back at the flash: its centre and radius in pixels, and how strongly (0 to 1)."""

    x: float
    y: float
    radius: float
    strength: float


def _spot(size: tuple[int, int], power: float, strength: float = 1.0) -> Image.Image:
    """A mask (mode L), 255 in the middle and falling to 0 at the rim."""
    return disc(size, table(lambda v: strength * 255 * (1 - v / 255) ** power))


def night(rng: Rng, image: Image.Image, depth: Image.Image, glows: list[Glow]) -> Image.Image:
    """The scene by infra-red flash: grey, bright close to the camera, black far away, with eyes that shine."""
    width, height = image.size
    grey = Image.blend(image.convert("L"), image.getchannel("R"), float(rng.uniform(0.2, 0.7)))
    reach = float(rng.uniform(0.5, 1.0))
    gain = float(rng.uniform(0.75, 1.05))
    grey = ImageChops.multiply(grey, depth.point(table(lambda v: 255 * gain * (0.1 + 0.9 * (v / 255) ** reach))))
    flash = _spot((round(width * 1.6), round(height * 1.8)), float(rng.uniform(0.5, 1.0)))
    x, y = (flash.width - width) // 2 + int(rng.integers(-60, 61)) * width // 1280, (flash.height - height) // 2
    flash = flash.crop((x, y, x + width, y + height)).point(table(lambda v: 34 + v * 1.25))
    grey = ImageChops.multiply(grey, flash)
    lift = int(rng.integers(2, 14))
    bright = float(rng.uniform(1.25, 1.75))
    grey = grey.point(table(lambda v: lift + 255 * (v / 255 * bright) ** 0.92))
    for glow in glows:
        r = max(2, round(glow.radius * 5))
        halo = _spot((2 * r, 2 * r), 2.2, glow.strength)
        grey.paste(255, (round(glow.x) - r, round(glow.y) - r), halo)
        core = max(1.0, glow.radius * 0.9)
        ImageDraw.Draw(grey).ellipse([glow.x - core, glow.y - core, glow.x + core, glow.y + core], fill=250)
    if rng.random() < 0.8:
        return Image.merge("RGB", (grey, grey, grey))
    tone = (255, 232, 236) if rng.random() < 0.5 else (226, 238, 255)
    return Image.merge("RGB", [grey.point([v * c // 255 for v in range(256)]) for c in tone])


def daylight(rng: Rng, image: Image.Image, depth: Image.Image, haze: Colour) -> Image.Image:
    """The light of some hour of the day; now and then fog, dappled shade, or the sun in the lens."""
    width, height = image.size
    kind = rng.random()
    if kind < 0.14:
        thick = float(rng.uniform(0.45, 0.85))
        fog = depth.point(table(lambda v: 255 * thick * (1 - v / 255) ** 1.5))
        image.paste(mix(haze, (225, 228, 230), 0.6), mask=fog)
    elif kind < 0.34:
        patches = fractal(rng, (width // 2, height // 2), width / 16, 2.2, 3).point(
            table(lambda v: min(120, (v - 105) * 2.2))
        )
        shade = ImageChops.multiply(patches.resize(image.size), depth.point(table(lambda v: 40 + v * 2)))
        image.paste((14, 18, 26), mask=shade)
    elif kind < 0.42:
        r = round(width * float(rng.uniform(0.25, 0.55)))
        x, y = int(rng.integers(0, width)), int(rng.integers(-height // 8, height // 4))
        flare = _spot((2 * r, 2 * r), 1.8, 0.85)
        image.paste((255, 246, 222), (x - r, y - r), flare)
        for step in (1, 2, 3):
            s = round(width * 0.02 * step)
            spot = _spot((2 * s, 2 * s), 1.3, 0.3)
            px, py = x + (width // 2 - x) * step // 2, y + (height // 2 - y) * step // 2
            image.paste((255, 220, 170), (px - s, py - s), spot)
    warm = float(rng.uniform(-0.12, 0.14)) if rng.random() < 0.6 else 0.0
    light = float(rng.uniform(0.72, 1.12))
    gains = (light * (1 + warm), light, light * (1 - warm))
    return image.point([min(255, round(v * gain)) for gain in gains for v in range(256)])


def sensor(rng: Rng, image: Image.Image, amount: float) -> Image.Image:
    """Sensor noise of about `amount` grey levels, and a lens that is not perfectly sharp."""
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.8)) * image.width / 1000))
    width, height = image.size
    tile = (rng.standard_normal((256, 256), dtype=np.float32) * amount).astype(np.int16)
    x, y = (int(v) for v in rng.integers(0, 256, 2))
    grain = np.tile(np.roll(tile, (y, x), (0, 1)), (height // 256 + 1, width // 256 + 1))[:height, :width, None]
    return Image.fromarray(np.clip(np.asarray(image, np.int16) + grain, 0, 255).astype(np.uint8))


def strip(rng: Rng, image: Image.Image, taken: datetime, number: int) -> int:
    """Writes the camera's line of text at the bottom, in place. Returns its height in pixels."""
    width, height = image.size
    tall = max(14, round(height * float(rng.uniform(0.03, 0.055))))
    light = rng.random() < 0.25
    paper, ink = ((232, 232, 228), (20, 20, 20)) if light else ((8, 8, 10), (236, 236, 232))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, height - tall, width, height], fill=paper)
    font = ImageFont.load_default(tall * 0.62)
    middle = height - tall / 2
    celsius = int(rng.integers(-12, 33))
    draw.text((width * 0.02, middle), f"CAM {number:02d}", ink, font, "lm")
    draw.text((width * 0.30, middle), f"{celsius} C", ink, font, "mm")
    draw.text((width * 0.62, middle), f"{taken:%Y-%m-%d  %H:%M:%S}", ink, font, "mm")
    draw.text((width * 0.98, middle), f"{int(rng.integers(1, 9999)):04d}", ink, font, "rm")
    draw.ellipse(
        [width * 0.42 - tall * 0.25, middle - tall * 0.25, width * 0.42 + tall * 0.25, middle + tall * 0.25], fill=ink
    )
    return tall
