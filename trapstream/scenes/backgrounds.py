"""Where the camera hangs: eight kinds of land, each with its sky, its distance and its ground."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from trapstream.scenes.canvas import Array, Colour, Rng, fractal, mix, noise, rise, tinted, vary


@dataclass(frozen=True)
class Land:
    """A kind of land. `props` names what stands on it, the commoner ones more than once."""

    name: str
    near: tuple[Colour, Colour]
    far: tuple[Colour, Colour]
    sky: tuple[Colour, Colour]
    ridge: Colour
    leaf: tuple[Colour, ...]
    horizon: tuple[float, float]
    props: tuple[str, ...]
    grass: float


LANDS: tuple[Land, ...] = (
    Land(
        "grass",
        ((62, 88, 40), (122, 142, 66)),
        ((108, 132, 80), (140, 156, 96)),
        ((150, 186, 216), (214, 226, 230)),
        (86, 112, 84),
        ((70, 104, 44), (104, 130, 56), (84, 92, 44)),
        (0.22, 0.5),
        ("bush", "bush", "rock", "tree", "stump", "post"),
        1.0,
    ),
    Land(
        "forest",
        ((58, 44, 30), (112, 88, 56)),
        ((62, 68, 42), (92, 92, 58)),
        ((116, 136, 112), (176, 190, 164)),
        (52, 68, 46),
        ((48, 76, 38), (74, 98, 44), (110, 100, 44)),
        (0.3, 0.55),
        ("trunk", "trunk", "trunk", "bush", "log", "stump", "rock", "conifer"),
        0.35,
    ),
    Land(
        "savanna",
        ((148, 118, 62), (204, 174, 104)),
        ((178, 156, 98), (206, 184, 126)),
        ((144, 184, 214), (230, 222, 200)),
        (140, 134, 98),
        ((168, 148, 76), (130, 122, 60), (190, 164, 90)),
        (0.25, 0.5),
        ("acacia", "bush", "mound", "rock", "log", "trunk"),
        0.9,
    ),
    Land(
        "snow",
        ((196, 208, 222), (244, 248, 252)),
        ((206, 216, 226), (232, 238, 244)),
        ((150, 172, 196), (222, 230, 238)),
        (120, 138, 150),
        ((50, 70, 62), (78, 92, 82), (120, 108, 90)),
        (0.2, 0.5),
        ("conifer", "conifer", "trunk", "rock", "stump", "log"),
        0.12,
    ),
    Land(
        "desert",
        ((188, 142, 92), (228, 190, 136)),
        ((206, 172, 126), (226, 196, 150)),
        ((120, 170, 214), (226, 220, 206)),
        (176, 128, 96),
        ((112, 124, 72), (142, 140, 90), (98, 108, 70)),
        (0.25, 0.5),
        ("cactus", "rock", "rock", "bush", "mound"),
        0.1,
    ),
    Land(
        "rock",
        ((92, 90, 88), (158, 154, 148)),
        ((124, 126, 128), (164, 164, 162)),
        ((146, 176, 204), (216, 224, 230)),
        (112, 118, 124),
        ((96, 112, 64), (122, 124, 80), (80, 92, 58)),
        (0.2, 0.5),
        ("rock", "rock", "rock", "conifer", "bush", "log"),
        0.2,
    ),
    Land(
        "water",
        ((82, 80, 54), (138, 128, 84)),
        ((96, 124, 136), (150, 176, 186)),
        ((150, 184, 212), (220, 228, 228)),
        (84, 106, 78),
        ((92, 112, 52), (124, 130, 66), (70, 90, 50)),
        (0.2, 0.42),
        ("bush", "rock", "log", "tree", "post"),
        0.7,
    ),
    Land(
        "track",
        ((112, 92, 66), (164, 140, 104)),
        ((128, 118, 84), (158, 144, 104)),
        ((152, 182, 208), (216, 224, 226)),
        (78, 100, 70),
        ((66, 96, 46), (100, 122, 58), (124, 116, 60)),
        (0.25, 0.48),
        ("tree", "bush", "trunk", "rock", "post", "conifer"),
        0.8,
    ),
)


@dataclass(frozen=True)
class Backdrop:
    """The empty place. `image` is RGB; `horizon` is a row; `depth` (mode L) is 0 far away and 255 at the camera."""

    image: Image.Image
    land: Land
    horizon: int
    depth: Image.Image


def backdrop(rng: Rng, size: tuple[int, int]) -> Backdrop:
    """Draws the sky, the distance and the ground of a place."""
    width, height = size
    land = LANDS[int(rng.integers(len(LANDS)))]
    horizon = round(height * float(rng.uniform(*land.horizon)))
    image = Image.new("RGB", size)
    image.paste(_sky(rng, (width, horizon + 8), land), (0, 0))
    for step in range(int(rng.integers(1, 4))):
        _ridge(rng, image, horizon, land, step)
    ground = _ground(rng, (width, height - horizon), land)
    image.paste(ground, (0, horizon), _edge(rng, ground.size))
    if land.name == "track":
        _track(rng, image, horizon, land)
    depth = Image.new("L", size, 0)
    depth.paste(rise(ground.size), (0, horizon))
    return Backdrop(image, land, horizon, depth)


def _sky(rng: Rng, size: tuple[int, int], land: Land) -> Image.Image:
    """A sky with clouds; in a forest a wall of leaves and light."""
    top, low = vary(rng, land.sky[0], 18), vary(rng, land.sky[1], 12)
    sky = tinted(rise(size), top, low)
    if land.name == "forest" or (land.name in ("grass", "track", "snow") and rng.random() < 0.3):
        dark = vary(rng, mix(land.leaf[0], (20, 30, 20), 0.4), 10)
        leaves = tinted(fractal(rng, size, size[0] / 14, 0.8, 4), dark, mix(land.leaf[1], low, 0.45))
        wall = Image.blend(leaves, sky, float(rng.uniform(0.05, 0.35)))
        draw = ImageDraw.Draw(wall)
        for _ in range(int(rng.integers(8, 40))):
            x, wide, lean = (float(rng.uniform(a, b)) * size[0] for a, b in ((0, 1), (0.002, 0.014), (-0.03, 0.03)))
            tone = vary(rng, mix(dark, low, float(rng.uniform(0.05, 0.3))), 8)
            draw.polygon([(x, size[1]), (x + lean, 0), (x + lean + wide * 0.7, 0), (x + wide, size[1])], fill=tone)
        return wall.filter(ImageFilter.GaussianBlur(size[0] / 900))
    clouds = fractal(rng, size, max(8.0, size[1] / 2.2), 2.4, 3).point(
        [max(0, min(200, (v - 120) * 3)) for v in range(256)]
    )
    sky.paste(mix(low, (255, 255, 255), 0.6), mask=clouds)
    return sky


def _profile(rng: Rng, width: int, rough: int) -> Array:
    """A hilly line: `width` values from 0 to 1."""
    line = np.zeros(width)
    for octave in range(5):
        knots = rng.random(3 * rough * 2**octave // 2 + 2)
        line += np.interp(np.linspace(0, len(knots) - 1, width), np.arange(len(knots)), knots) / 2**octave
    return np.asarray(line / line.max())


def _ridge(rng: Rng, image: Image.Image, horizon: int, land: Land, step: int) -> None:
    """Hills or a line of trees in front of the sky; each nearer one is darker."""
    width, _ = image.size
    trees = land.name in ("forest", "grass", "snow", "water", "track")
    tall = horizon * float(rng.uniform(0.25, 0.7)) / (step + 1)
    tops = horizon - tall * _profile(rng, width // 4 + 1, 12 if trees and step else 2)
    if trees and step:
        tops -= tall * 0.25 * rng.random(tops.shape)
    points = [(4 * i, float(y)) for i, y in enumerate(tops)]
    mask = Image.new("L", (width, horizon + 8), 0)
    ImageDraw.Draw(mask).polygon([(0, horizon + 8), *points, (width, horizon + 8)], fill=255)
    colour = vary(rng, mix(land.sky[1], land.ridge, 0.4 + 0.25 * step), 8)
    tex = tinted(fractal(rng, mask.size, 18, 0.7, 2), mix(colour, (0, 0, 0), 0.22), mix(colour, (255, 255, 255), 0.12))
    image.paste(tex, (0, 0), mask.reduce(2).resize(mask.size, Image.Resampling.BILINEAR))


def _ground(rng: Rng, size: tuple[int, int], land: Land) -> Image.Image:
    """The ground: fine and pale far away, coarse and strong near the camera."""
    width, height = size
    unit = width / 640
    far = tinted(fractal(rng, size, 5 * unit, 7, 2), *(vary(rng, c, 8) for c in land.far))
    cell = float(rng.uniform(30, 80)) * unit
    patches = Image.blend(fractal(rng, size, cell, 2.2, 4), noise(rng, size, 3 * unit, 3 * unit), 0.22)
    near = tinted(patches, *(vary(rng, c, 10) for c in land.near))
    if land.name == "water":
        shore = fractal(rng, size, height * 0.5, 3, 2)
        line = float(rng.uniform(0.3, 0.7))
        ramp = np.asarray(rise(size), np.int16) + np.asarray(shore, np.int16) // 3 - 42
        wet = np.clip(128 - (ramp - line * 255) * 12, 0, 255).astype(np.uint8)
        ripple = fractal(rng, size, 3 * unit, 14, 2)
        blue = vary(rng, land.far[0], 14)
        lake = tinted(ripple, mix(blue, (20, 40, 50), 0.25), mix(blue, (235, 240, 240), 0.42))
        return Image.composite(lake, near, Image.fromarray(wet))
    return Image.composite(near, far, rise(size).point([min(255, round(v * 1.5)) for v in range(256)]))


def _edge(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """A mask for the ground whose upper edge is soft and a little uneven."""
    mask = Image.new("L", size, 255)
    strip = noise(rng, (size[0], 6), 9, 6)
    mask.paste(Image.blend(strip, rise(strip.size), 0.6), (0, 0))
    return mask


def _track(rng: Rng, image: Image.Image, horizon: int, land: Land) -> None:
    """Verges of grass beside a bare track that runs away from the camera or across."""
    width, height = image.size
    x, spread, aim = (float(rng.uniform(a, b)) * width for a, b in ((0.3, 0.7), (0.25, 0.5), (0.3, 0.7)))
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    draw.rectangle([0, horizon, width, height], fill=225)
    if rng.random() < 0.55:
        draw.polygon(
            [(aim - 6, horizon + 2), (aim + 6, horizon + 2), (x + spread, height), (x - spread, height)], fill=0
        )
    else:
        y, band = (
            horizon + (height - horizon) * float(rng.uniform(0.25, 0.5)),
            height * float(rng.uniform(0.12, 0.25)),
        )
        draw.polygon([(0, y), (width, y + 20), (width, y + band), (0, y + band + 10)], fill=0)
    mask = mask.reduce(4).filter(ImageFilter.GaussianBlur(width / 480)).resize(image.size, Image.Resampling.BILINEAR)
    verge = tinted(
        fractal(rng, image.size, width / 40, 1.8, 3),
        vary(rng, mix(land.leaf[0], (0, 0, 0), 0.2), 8),
        vary(rng, land.leaf[1], 8),
    )
    image.paste(verge, (0, 0), mask)
