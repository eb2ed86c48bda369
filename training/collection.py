"""Draws many scenes once, with several processes, and keeps them as JPEG bytes in one file with their boxes."""

from __future__ import annotations

import io
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trapstream.scenes.canvas import Array
from trapstream.scenes.scene import CATEGORIES, draw_scene

SIZE = (640, 480)
LARGE_EVERY = 6


@dataclass(frozen=True)
class Collection:
    """Scenes on disk. `boxes[i]` is float32 [n, 5]: class index, x_min, y_min, x_max, y_max in pixels of SIZE."""

    path: Path
    ends: Array
    boxes: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.ends)

    def image(self, index: int) -> Array:
        """Scene `index` as uint8 [height, width, 3]."""
        start = int(self.ends[index - 1]) if index else 0
        with self.path.open("rb") as file:
            file.seek(start)
            content = file.read(int(self.ends[index]) - start)
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def draw_one(seed: int) -> tuple[bytes, Array]:
    """One scene as JPEG bytes of SIZE with its boxes. Every sixth is drawn at twice the size and reduced."""
    large = 2 if seed % LARGE_EVERY == 0 else 1
    scene = draw_scene(seed, (SIZE[0] * large, SIZE[1] * large))
    rows = [
        (CATEGORIES.index(b.category), b.x_min, b.y_min, b.x_min + b.width, b.y_min + b.height) for b in scene.boxes
    ]
    boxes = np.asarray(rows, np.float32).reshape(-1, 5)
    boxes[:, 1:] /= large
    buffer = io.BytesIO()
    scene.image.reduce(large).save(buffer, "JPEG", quality=70 + seed % 26)
    return buffer.getvalue(), boxes


def _drawn(seeds: range, processes: int) -> Iterator[tuple[bytes, Array]]:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(draw_one, seeds, chunksize=32)


def draw_collection(folder: Path, name: str, seeds: range, processes: int = 2) -> Collection:
    """Draws the scenes of these seeds into folder/name.bin and name.npz, unless they are there already."""
    index, data = folder / f"{name}.npz", folder / f"{name}.bin"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        ends, boxes, counts, position = [], [], [], 0
        with data.open("wb") as file:
            for done, (content, rows) in enumerate(_drawn(seeds, processes), start=1):
                position += file.write(content)
                ends.append(position)
                boxes.append(rows)
                counts.append(len(rows))
                if done % 500 == 0:
                    print(f"{name}: {done} of {len(seeds)} scenes drawn", file=sys.stderr, flush=True)
        np.savez(index, ends=np.asarray(ends), boxes=np.concatenate(boxes), counts=np.asarray(counts))
    with np.load(index) as stored:
        ends_, flat, splits = stored["ends"], stored["boxes"], np.cumsum(stored["counts"])[:-1]
    return Collection(data, ends_, tuple(np.split(flat, splits)))
