"""Draws many scenes once, with several processes, and keeps their pixels in one file and their boxes in another."""

import io
import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trapstream.scenes.canvas import Array
from trapstream.scenes.scene import CATEGORIES, Scene, draw_scene

SIZE = (640, 480)
LARGE_EVERY = 6


@dataclass(frozen=True)
class Collection:
    """Scenes on disk: uint8 [n, 480, 640, 3], and of each its boxes as `truth_of` gives them."""

    pixels: Array
    boxes: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.boxes)


def truth_of(scene: Scene, enlarged: int) -> Array:
    """The boxes of a scene that was drawn `enlarged` times as large as SIZE: float32 [n, 5], class index, x_min, y_min,
    x_max, y_max in pixels of SIZE."""
    rows = [
        (CATEGORIES.index(b.category), b.x_min, b.y_min, b.x_min + b.width, b.y_min + b.height) for b in scene.boxes
    ]
    boxes = np.asarray(rows, np.float32).reshape(-1, 5)
    boxes[:, 1:] /= enlarged
    return boxes


def after_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image as it comes back from a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def draw_one(seed: int) -> tuple[bytes, Array]:
    """One scene's pixels and boxes. Every sixth is drawn at twice the size and reduced."""
    large = 2 if seed % LARGE_EVERY == 0 else 1
    scene = draw_scene(seed, (SIZE[0] * large, SIZE[1] * large))
    return after_jpeg(scene.image.reduce(large), 70 + seed % 26).tobytes(), truth_of(scene, large)


def draw_collection(folder: Path, name: str, seeds: range, processes: int) -> None:
    """Draws the scenes of these seeds into folder/name.pixels and name.npz, unless they are there already."""
    index = folder / f"{name}.npz"
    if index.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    boxes = []
    with (
        (folder / f"{name}.pixels").open("wb") as file,
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        for pixels, rows in pool.imap(draw_one, seeds, chunksize=32):
            file.write(pixels)
            boxes.append(rows)
    np.savez(index, boxes=np.concatenate(boxes), counts=np.asarray([len(rows) for rows in boxes]))
    print(f"{name}: {len(seeds)} scenes drawn", file=sys.stderr, flush=True)


def load_collection(folder: Path, name: str) -> Collection:
    """The scenes that `draw_collection` drew."""
    with np.load(folder / f"{name}.npz") as stored:
        boxes = np.split(stored["boxes"], np.cumsum(stored["counts"])[:-1])
    pixels = np.memmap(folder / f"{name}.pixels", np.uint8, "r", shape=(len(boxes), SIZE[1], SIZE[0], 3))
    return Collection(pixels, tuple(boxes))
