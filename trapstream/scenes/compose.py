"""Puts a scene together from back to front, and keeps account of what each figure still shows."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from trapstream.scenes.animals import animal
from trapstream.scenes.backgrounds import Backdrop, Land
from trapstream.scenes.canvas import Figure, Rng, disc, table
from trapstream.scenes.effects import Glow
from trapstream.scenes.people import person
from trapstream.scenes.props import PROPS, prop, tuft
from trapstream.scenes.vehicles import vehicle

LEAST_VISIBLE = 0.6
SMALLEST, LARGEST = 0.04, 0.70
FIGURE_AT_MOST, PROP_AT_MOST = 400.0, 250.0
"""Pixels. A larger drawing is close to the lens and soft, so it is drawn smaller and enlarged."""
SOLID = table(lambda v: 255 if v >= 110 else 0)
SHADOWS = [[max(0, 230 - v) * step // 20 for v in range(256)] for step in range(21)]


@dataclass
class Stage:
    """A scene while it is drawn. `ids` (mode L) holds at each pixel the number of the figure seen there, or 0."""

    image: Image.Image
    depth: Image.Image
    ids: Image.Image
    shadow: float
    areas: dict[int, int] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    glows: list[tuple[int, Glow]] = field(default_factory=list)


def extent(stage: Stage, number: int) -> tuple[int, int, int, int] | None:
    """The left, top, right and bottom pixel edges of what figure `number` shows."""
    return stage.ids.point(table(lambda v: 255 if v == number else 0)).getbbox()


def _hides(stage: Stage, solid: Image.Image, x: int, y: int) -> bool:
    """Whether a drawing put at (x, y) would leave too little of a figure that stands behind it."""
    if not stage.areas:
        return False
    box = (max(0, x), max(0, y), min(stage.ids.width, x + solid.width), min(stage.ids.height, y + solid.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        return False
    under = np.asarray(stage.ids.crop(box))
    cover = np.asarray(solid.crop((box[0] - x, box[1] - y, box[2] - x, box[3] - y))) > 0
    hidden = np.bincount(under[cover], minlength=256)
    for number, area in stage.areas.items():
        if hidden[number] and np.count_nonzero(np.asarray(stage.ids) == number) - hidden[number] < LEAST_VISIBLE * area:
            return True
    return False


def _shade(stage: Stage, x: int, base: int, width: int) -> None:
    """A soft shadow on the ground below something `width` pixels wide."""
    wide, tall = max(4, round(width * 1.15)), max(3, round(width * 0.16))
    mask = disc((wide, tall), SHADOWS[round(20 * stage.shadow)])
    stage.image.paste((10, 10, 12), (x - (wide - width) // 2, base - tall // 2), mask)


def stand(
    stage: Stage, image: Image.Image, x: int, base: int, near: float, number: int = 0, shadow: bool = True
) -> bool:
    """Stands an RGBA drawing on row `base` with its left edge at x; `near` is 0 far away and 1 at the camera.

    Returns False, and draws nothing, when it would hide too much of a figure, or (for a figure) shows too little.
    """
    y = base - image.height
    alpha = image.getchannel("A")
    solid = alpha.point(SOLID)
    if _hides(stage, solid, x, y):
        return False
    if number:
        whole = np.count_nonzero(np.asarray(solid))
        seen = solid.crop(
            (max(0, -x), max(0, -y), min(solid.width, stage.ids.width - x), min(solid.height, stage.ids.height - y))
        )
        shown = np.count_nonzero(np.asarray(seen))
        if shown < 0.5 * whole:
            return False
        stage.areas[number] = shown
    if shadow:
        _shade(stage, x, base, image.width)
    stage.image.paste(image, (x, y), alpha)
    stage.depth.paste(round(255 * min(1.0, near)), (x, y), alpha)
    stage.ids.paste(number, (x, y), solid)
    return True


def _nearness(rng: Rng, share: float) -> float:
    """How close a figure stands that fills `share` of the image's longer side."""
    return float(np.clip(0.06 + 0.95 * (share / LARGEST) ** 0.65 + rng.uniform(-0.1, 0.1), 0.03, 1.04))


def figure(rng: Rng, category: str, size: float) -> Figure:
    """A figure of the category, `size` pixels on its longer side."""
    drawn = {"animal": animal, "person": person, "vehicle": vehicle}[category](rng, min(size, FIGURE_AT_MOST))
    scale = size / max(drawn.image.size)
    target = (max(2, round(drawn.image.width * scale)), max(2, round(drawn.image.height * scale)))
    eyes = tuple((x * scale, y * scale, max(1.0, r * scale)) for x, y, r in drawn.eyes)
    return Figure(drawn.image.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0), eyes)


def _stand_figure(rng: Rng, stage: Stage, drawn: Figure, category: str, base: int, near: float, number: int) -> None:
    width = stage.image.width
    hang = round(drawn.image.width * 0.4)
    low, high = -hang if rng.random() < 0.15 else 0, width - drawn.image.width + (hang if rng.random() < 0.15 else 0)
    for _ in range(4):
        x = int(rng.integers(low, max(low + 1, high)))
        if stand(stage, drawn.image, x, base, max(0.42, near), number):
            stage.categories[number] = category
            top = base - drawn.image.height
            if category == "vehicle" or rng.random() < 0.85:
                strength = float(rng.uniform(0.35, 0.9))
                stage.glows.extend((number, Glow(x + ex, top + ey, er, strength)) for ex, ey, er in drawn.eyes)
            return


def populate(rng: Rng, stage: Stage, backdrop: Backdrop, wanted: tuple[str, ...]) -> None:
    """Stands figures, props and grass on the ground, the farthest first."""
    land, horizon = backdrop.land, backdrop.horizon
    width, height = stage.image.size
    ground, longer = height - horizon, max(width, height)
    items: list[tuple[float, str, float]] = []
    common = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    for index, category in enumerate(wanted):
        fresh = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))
        share = (
            common
            if index == 0
            else float(np.clip(common * rng.uniform(0.6, 1.5) if rng.random() < 0.7 else fresh, SMALLEST, LARGEST))
        )
        items.append((_nearness(rng, share), category, share * longer))
    items.extend(
        (float(rng.random()) ** 1.3, land.props[int(rng.integers(len(land.props)))], 0.0)
        for _ in range(int(rng.integers(3, 12)))
    )
    tufts = [tuft(rng, land, height * 0.12) for _ in range(4)]
    items.extend(
        (float(rng.uniform(0.02, 1.1)), "tuft", 0.0)
        for _ in range(round(130 * land.grass * float(rng.uniform(0.2, 1.2))))
    )
    for near, name, size in sorted(items):
        base = round(horizon + ground * near)
        if name == "tuft":
            scale = (0.12 + 0.75 * near) * float(rng.uniform(0.5, 1.0))
            blade = tufts[int(rng.integers(4))]
            blade = blade.resize(
                (max(2, round(blade.width * scale)), max(2, round(blade.height * scale))), Image.Resampling.BILINEAR
            )
            stand(stage, blade, int(rng.integers(-blade.width // 2, width)), base, near)
        elif size:
            drawn = figure(rng, name, size)
            _stand_figure(rng, stage, drawn, name, base, near, 255 - len(stage.areas))
        else:
            _stand_prop(rng, stage, land, name, base, near)


def _stand_prop(rng: Rng, stage: Stage, land: Land, name: str, base: int, near: float) -> None:
    width, height = stage.image.size
    size = height * PROPS[name][1] * (0.12 + 0.9 * near) * float(rng.uniform(0.7, 1.35))
    if name == "trunk":
        size = max(size, base + 4.0)
    size = min(size, height * 1.1)
    drawn = prop(rng, name, land, min(size, PROP_AT_MOST))
    if size > PROP_AT_MOST:
        scale = size / PROP_AT_MOST
        drawn = drawn.resize((round(drawn.width * scale), round(drawn.height * scale)), Image.Resampling.BILINEAR)
    stand(stage, drawn, int(rng.integers(-drawn.width // 2, max(1, width - drawn.width // 2))), base, near)


def foreground(rng: Rng, stage: Stage, land: Land) -> None:
    """Now and then leaves so close to the lens that they are out of focus."""
    if rng.random() > 0.18:
        return
    width, height = stage.image.size
    blade = tuft(rng, land, height * float(rng.uniform(0.25, 0.6)))
    blade = blade.filter(ImageFilter.GaussianBlur(width / 220))
    base = height + height // 20
    if rng.random() < 0.4:
        blade = blade.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        base = blade.height - height // 20
    x = int(rng.integers(-blade.width // 2, width - blade.width // 2))
    stand(stage, blade, x, base, 1.0, shadow=False)
