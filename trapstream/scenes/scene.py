"""Camera-trap scenes, drawn from a seed: by day and by infra-red night, nearly half with nothing but clutter."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from trapstream.scenes.backgrounds import backdrop
from trapstream.scenes.canvas import Array, Rng
from trapstream.scenes.compose import Stage, extent, foreground, populate
from trapstream.scenes.effects import MAKERS, daylight, night, sensor, strip

EMPTY_SHARE = 0.45
CATEGORIES = ("animal", "person", "vehicle")
CATEGORY_SHARES = (0.54, 0.25, 0.21)
NIGHT_SHARE = 0.4


@dataclass(frozen=True)
class Box:
    """The box around the visible part of a figure, in pixels of its scene."""

    category: str
    x_min: int
    y_min: int
    width: int
    height: int


@dataclass(frozen=True)
class Scene:
    """A photograph (RGB) with its truth, and what its camera would have written beside it."""

    image: Image.Image
    boxes: tuple[Box, ...]
    night: bool
    taken: datetime
    camera: tuple[str, str]


def draw_scene(seed: int, size: tuple[int, int] = (1280, 960)) -> Scene:
    """Draws scene number `seed` at `size` (width, height) pixels. The same seed and size give the same pixels."""
    rng = np.random.default_rng([seed, *size])
    dark = bool(rng.random() < NIGHT_SHARE)
    wanted = _wanted(rng)
    empty = backdrop(rng, size)
    stage = Stage(
        empty.image, empty.depth.copy(), Image.new("L", size, 0), 0.35 if dark else float(rng.uniform(0.15, 0.75))
    )
    populate(rng, stage, empty, wanted)
    foreground(rng, stage, empty.land)
    taken = _taken(rng, dark)
    if dark:
        ids = np.asarray(stage.ids)
        glows = [g for n, g in stage.glows if _shows(ids, n, g.x, g.y)]
        image = night(rng, stage.image, stage.depth, glows)
    else:
        image = daylight(rng, stage.image, stage.depth, empty.land.sky[1])
    image = sensor(rng, image, float(rng.uniform(3, 9) if dark else rng.uniform(0.5, 4)))
    if rng.random() < 0.55:
        tall = strip(rng, image, taken, int(rng.integers(1, 60)))
        stage.ids.paste(0, (0, size[1] - tall, *size))
    return Scene(image, _boxes(stage), dark, taken, MAKERS[int(rng.integers(len(MAKERS)))])


def _wanted(rng: Rng) -> tuple[str, ...]:
    """The categories of the figures to draw; none for an empty scene."""
    if rng.random() < EMPTY_SHARE:
        return ()
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.64, 0.2, 0.09, 0.04, 0.03]))
    first = str(rng.choice(CATEGORIES, p=CATEGORY_SHARES))
    others = (first if rng.random() < 0.6 else str(rng.choice(CATEGORIES, p=CATEGORY_SHARES)) for _ in range(count - 1))
    return (first, *others)


def _taken(rng: Rng, dark: bool) -> datetime:
    """A moment within three years, at an hour that fits the light."""
    hour = (float(rng.uniform(20.5, 29)) % 24) if dark else float(rng.uniform(6.5, 19))
    return datetime(2022, 1, 1) + timedelta(days=int(rng.integers(0, 1095)), seconds=int(hour * 3600))


def _shows(ids: Array, number: int, x: float, y: float) -> bool:
    """Whether the figure itself is what is seen at a point."""
    row, column = round(y), round(x)
    return 0 <= row < ids.shape[0] and 0 <= column < ids.shape[1] and int(ids[row, column]) == number


def _boxes(stage: Stage) -> tuple[Box, ...]:
    boxes = []
    for number, category in stage.categories.items():
        seen = extent(stage, number)
        if seen and seen[2] - seen[0] >= 3 and seen[3] - seen[1] >= 3:
            boxes.append(Box(category, seen[0], seen[1], seen[2] - seen[0], seen[3] - seen[1]))
    return tuple(boxes)


def write_scenes(
    folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (1280, 960), quality: int = 88
) -> Iterator[Path]:
    """Writes scenes seed, seed + 1, .. as scene-000000.jpg, .. into `folder`, and yields each path as it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        scene = draw_scene(seed + number, size)
        path = folder / f"scene-{number:06d}.jpg"
        scene.image.save(path, "JPEG", quality=quality, exif=_exif(scene))
        yield path


def _exif(scene: Scene) -> Image.Exif:
    """Maker, model and moment, as a camera writes them."""
    exif = Image.Exif()
    moment = f"{scene.taken:%Y:%m:%d %H:%M:%S}"
    exif[0x010F], exif[0x0110], exif[0x0132] = *scene.camera, moment
    exif.get_ifd(0x8769)[0x9003] = moment
    return exif


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from text such as 1280x960."""
    width, height = (int(part) for part in text.lower().split("x"))
    if min(width, height) < 64:
        raise ValueError(text)
    return width, height
