"""Clutter that may hide a figure: trees, bushes, rocks, logs and grass. None of it is an animal."""

import math
from collections.abc import Callable

from PIL import Image

from trapstream.scenes.backgrounds import Land
from trapstream.scenes.canvas import SMOOTHING, Pen, Rng, ellipse, finish, limb, mix, pick, polygon, sheet, smooth, vary


def prop(rng: Rng, name: str, land: Land, size: float) -> Image.Image:
    """The named thing, about `size` pixels tall (a log: wide), RGBA, standing on the image's lower edge."""
    image = PROPS[name][0](rng, land, size)
    box = image.getchannel("A").getbbox()
    image = image.crop(box) if box else image
    if name in SNOWY and land.name == "snow":
        snow = Image.linear_gradient("L").resize(image.size).point([max(0, 170 - 3 * v) for v in range(256)])
        snow.paste(0, mask=image.getchannel("A").point([255 if v < 200 else 0 for v in range(256)]))
        image.paste((240, 245, 250), mask=snow)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def _blob(rng: Rng, x: float, y: float, rx: float, ry: float, rough: float) -> list[tuple[float, float]]:
    points = []
    for step in range(11):
        turn = step * 2 * math.pi / 11
        r = 1 + float(rng.uniform(-rough, rough))
        points.append((x + math.cos(turn) * rx * r, y + math.sin(turn) * ry * r))
    return points


def _rock(rng: Rng, land: Land, size: float) -> Image.Image:
    wide = float(rng.uniform(0.7, 1.5))
    pen = sheet(-wide, -1.3, wide, 0.0, SMOOTHING * size)
    tone = vary(rng, mix((128, 124, 118), land.near[1], float(rng.uniform(0.0, 0.5))), 22)
    for _ in range(int(rng.integers(1, 3))):
        points = _blob(rng, float(rng.uniform(-0.15, 0.15)), -0.4, wide * 0.72, 0.52, 0.2)
        polygon(pen, smooth(points, 3) if rng.random() < 0.6 else points, vary(rng, tone, 10))
    return finish(pen, rng, 1.1, 0.4)


def _bush(rng: Rng, land: Land, size: float) -> Image.Image:
    pen = sheet(-1.2, -1.2, 1.2, 0.0, SMOOTHING * size)
    tone = vary(rng, pick(rng, land.leaf), 16)
    for _ in range(6):
        twig = [(float(rng.uniform(-0.1, 0.1)), 0.0), (float(rng.uniform(-0.6, 0.6)), -0.7)]
        limb(pen, twig, [0.04, 0.015], (70, 54, 40))
    small = float(rng.uniform(0.06, 0.14))
    for step in range(90):
        turn, reach = float(rng.uniform(math.pi, 2 * math.pi)), float(rng.random()) ** 0.5
        x, y = math.cos(turn) * reach * 0.85, math.sin(turn) * reach * 0.85 - 0.08
        shade = mix(mix(tone, (0, 0, 0), 0.45), mix(tone, (240, 240, 190), 0.22), step / 90)
        ellipse(pen, x, y, small * 1.5, small * 0.7, shade, float(rng.uniform(0, 3.1)))
    return finish(pen, rng, 0.8, 0.2)


def _trunk(rng: Rng, _land: Land, size: float) -> Image.Image:
    """A trunk that leaves the picture at the top."""
    wide = float(rng.uniform(0.04, 0.13))
    lean = float(rng.uniform(-0.12, 0.12))
    pen = sheet(-0.4, -1.0, 0.4, 0.0, SMOOTHING * size)
    bark = vary(rng, pick(rng, ((84, 68, 52), (110, 96, 78), (62, 52, 44), (150, 142, 130))), 14)
    top = [(lean - wide * 0.8, -1), (lean + wide * 0.8, -1)]
    polygon(pen, [(-wide * 1.6, 0), (-wide, -0.1), *top, (wide, -0.1), (wide * 1.6, 0)], bark)
    for _ in range(26):
        x, y = float(rng.uniform(-0.85, 0.85)) * wide, -float(rng.uniform(0.02, 0.95))
        tone = mix(bark, (0, 0, 0), float(rng.uniform(0.1, 0.4)))
        x -= lean * y * 0.9
        limb(pen, [(x, y), (x + 0.004, y - float(rng.uniform(0.03, 0.12)))], [0.012, 0.004], tone)
    if rng.random() < 0.4:
        y, side = -float(rng.uniform(0.4, 0.9)), 1 if rng.random() < 0.5 else -1
        branch = [(-lean * y, y), (side * 0.2, y - 0.06), (side * 0.38, y - 0.16)]
        limb(pen, branch, [wide * 0.6, wide * 0.35, wide * 0.15], mix(bark, (0, 0, 0), 0.15))
    return finish(pen, rng, 1.3, 0.3)


def _tree(rng: Rng, land: Land, size: float) -> Image.Image:
    pen = sheet(-0.6, -1.05, 0.6, 0.0, SMOOTHING * size)
    limb(pen, [(0, 0), (0.02, -0.3), (0.0, -0.6)], [0.09, 0.07, 0.04], vary(rng, (88, 70, 52), 12))
    tone = vary(rng, pick(rng, land.leaf), 14)
    for step in range(80):
        turn, reach = float(rng.uniform(0, 2 * math.pi)), float(rng.random()) ** 0.5
        x, y = math.cos(turn) * reach * 0.4, math.sin(turn) * reach * 0.34 - 0.64
        shade = mix(
            mix(tone, (0, 0, 0), 0.4), mix(tone, (240, 240, 190), 0.25), min(1.0, max(0.0, -y - 0.3 + step / 500))
        )
        ellipse(pen, x, y, 0.085, 0.05, shade, float(rng.uniform(0, 3.1)))
    return finish(pen, rng, 0.8, 0.2)


def _conifer(rng: Rng, land: Land, size: float) -> Image.Image:
    pen = sheet(-0.42, -1.02, 0.42, 0.0, SMOOTHING * size)
    limb(pen, [(0, 0), (0, -0.3)], [0.06, 0.05], (80, 62, 46))
    tone = vary(rng, mix(land.leaf[0], (30, 62, 44), 0.6), 12)
    tiers = int(rng.integers(5, 9))
    for step in range(tiers):
        y, wide = -0.12 - 0.8 * step / tiers, 0.36 * (1 - step / tiers) + 0.03
        points = [
            (-wide, y),
            (-wide * 0.5, y - 0.03),
            (0, y - 0.3),
            (wide * 0.5, y - 0.03),
            (wide, y),
            (wide * 0.4, y - 0.02),
            (0, y + 0.03),
            (-wide * 0.4, y - 0.02),
        ]
        polygon(pen, points, vary(rng, mix(tone, (200, 220, 200), 0.12 * step / tiers), 8))
    return finish(pen, rng, 0.9, 0.35)


def _acacia(rng: Rng, _land: Land, size: float) -> Image.Image:
    pen = sheet(-0.75, -1.05, 0.75, 0.0, SMOOTHING * size)
    bark = vary(rng, (92, 74, 54), 12)
    for aim in (-0.4, -0.1, 0.35):
        limb(pen, [(0, 0), (0.02, -0.35), (aim, -0.85)], [0.07, 0.055, 0.02], bark)
    tone = vary(rng, (104, 112, 58), 14)
    for step in range(60):
        x, y = float(rng.normal(0, 0.3)), -0.86 - 0.1 * step / 60 + float(rng.uniform(-0.03, 0.03))
        ellipse(pen, max(-0.66, min(0.66, x)), y, 0.1, 0.035, mix(mix(tone, (0, 0, 0), 0.3), tone, step / 60))
    return finish(pen, rng, 0.7, 0.2)


def _log(rng: Rng, _land: Land, size: float) -> Image.Image:
    thick = float(rng.uniform(0.1, 0.2))
    pen = sheet(-0.65, -0.6, 0.65, 0.0, SMOOTHING * size)
    bark = vary(rng, (96, 76, 56), 18)
    slope = float(rng.uniform(-0.12, 0.12))
    a, b = (-0.5, -thick * 0.6 - max(0, slope)), (0.5, -thick * 0.6 + min(0, slope))
    limb(pen, [a, b], [thick, thick * 0.85], bark)
    if rng.random() < 0.6:
        x = float(rng.uniform(-0.3, 0.3))
        limb(pen, [(x, a[1]), (x + 0.1, a[1] - 0.26)], [0.05, 0.02], mix(bark, (0, 0, 0), 0.2))
    ellipse(pen, b[0], b[1], thick * 0.25, thick * 0.42, mix(bark, (226, 190, 140), 0.55))
    ellipse(pen, b[0], b[1], thick * 0.12, thick * 0.22, mix(bark, (200, 160, 110), 0.4))
    return finish(pen, rng, 1.1, 0.4)


def _stump(rng: Rng, _land: Land, size: float) -> Image.Image:
    pen = sheet(-0.7, -1.1, 0.7, 0.0, SMOOTHING * size)
    bark = vary(rng, (92, 72, 54), 16)
    tall = float(rng.uniform(0.5, 0.9))
    polygon(pen, [(-0.55, 0), (-0.38, -0.15), (-0.34, -tall), (0.34, -tall), (0.38, -0.15), (0.55, 0)], bark)
    ellipse(pen, 0, -tall, 0.34, 0.12, mix(bark, (222, 186, 136), 0.65))
    ellipse(pen, 0, -tall, 0.2, 0.07, mix(bark, (200, 160, 110), 0.5))
    return finish(pen, rng, 1.2, 0.35)


def _mound(rng: Rng, land: Land, size: float) -> Image.Image:
    pen = sheet(-0.8, -1.1, 0.8, 0.0, SMOOTHING * size)
    tone = vary(rng, mix(land.near[0], (150, 96, 62), 0.5), 12)
    top = float(rng.uniform(-0.15, 0.15))
    peak = [(top - 0.14, -0.85), (top, -1.0), (top + 0.16, -0.8)]
    polygon(pen, smooth([(-0.65, 0.05), (-0.35, -0.35), *peak, (0.38, -0.3), (0.7, 0.05)], 4), tone)
    return finish(pen, rng, 1.1, 0.45)


def _cactus(rng: Rng, _land: Land, size: float) -> Image.Image:
    pen = sheet(-0.45, -1.08, 0.45, 0.0, SMOOTHING * size)
    tone = vary(rng, (86, 112, 70), 14)
    limb(pen, [(0, 0), (0, -0.95)], [0.13, 0.12], tone)
    for side in (-1, 1):
        if rng.random() < 0.75:
            y = -float(rng.uniform(0.3, 0.6))
            arm = [(0, y), (side * 0.22, y - 0.02), (side * 0.23, y - 0.28)]
            limb(pen, arm, [0.09, 0.09, 0.08], mix(tone, (0, 0, 0), 0.08))
    return finish(pen, rng, 1.1, 0.3)


def _post(rng: Rng, _land: Land, size: float) -> Image.Image:
    pen = sheet(-0.6, -1.05, 0.6, 0.0, SMOOTHING * size)
    wood = vary(rng, (120, 104, 84), 18)
    for x in (-0.5, 0.5):
        limb(pen, [(x, 0.05), (x, -0.95)], [0.07, 0.065], wood)
    for y in (-0.8, -0.5, -0.22):
        limb(pen, [(-0.6, y), (0.6, y)], [0.03, 0.03], mix(wood, (0, 0, 0), 0.2))
    return finish(pen, rng, 1.0, 0.35)


def tuft(rng: Rng, land: Land, size: float) -> Image.Image:
    """A tuft of grass `size` pixels tall, RGBA, rooted on the image's lower edge."""
    pen: Pen = sheet(-0.75, -1.05, 0.75, 0.0, SMOOTHING * size)
    base = vary(rng, pick(rng, land.leaf), 14)
    for step in range(int(rng.integers(9, 20))):
        x, bend = float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.4, 0.4))
        tall = float(rng.uniform(0.45, 1.0))
        tone = mix(mix(base, (0, 0, 0), 0.35), mix(base, (246, 236, 180), 0.3), step / 20)
        left, right = (x + bend * 0.35 - 0.02, -tall * 0.6), (x + bend * 0.35 + 0.02, -tall * 0.6)
        polygon(pen, [(x - 0.025, 0), left, (x + bend, -tall), right, (x + 0.025, 0)], tone)
    return pen.image.reduce(SMOOTHING)


SNOWY = ("conifer", "rock", "stump", "log", "post")
PROPS: dict[str, tuple[Callable[[Rng, Land, float], Image.Image], float]] = {
    "rock": (_rock, 0.16),
    "bush": (_bush, 0.3),
    "trunk": (_trunk, 1.6),
    "tree": (_tree, 0.9),
    "conifer": (_conifer, 1.1),
    "acacia": (_acacia, 0.9),
    "log": (_log, 0.5),
    "stump": (_stump, 0.16),
    "mound": (_mound, 0.3),
    "cactus": (_cactus, 0.5),
    "post": (_post, 0.3),
}
"""How each is drawn, and how tall it is close to the camera, as a share of the image's height."""
