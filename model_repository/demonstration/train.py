"""Trains the demonstration detector on drawn scenes: `python -m model_repository.demonstration.train FOLDER`.

Needs torch (extra `train`); nothing that runs the model does. FOLDER keeps the drawn scenes and the weights.
"""

from __future__ import annotations

import argparse
import copy
import io
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .canvas import Array
from .collection import Collection, draw_collection
from .losses import loss
from .network import Detector

TRAIN_SEED, VALIDATION_SEED = 1_000_000, 2_000_000
SHARD = 1000
GREY = 114
MOST_FIGURES = 8
SMALL = ((224, 160), (256, 192), (256, 192))
FULL = ((640, 480), (512, 384), (448, 352))


def sample(shard: Collection, index: int, canvas: tuple[int, int], rng: random.Random) -> tuple[Array, Array]:
    """A scene changed a little and put on a canvas (width, height): uint8 [H, W, 3] and boxes [n, 5]."""
    start = int(shard.ends[index - 1]) if index else 0
    with shard.path.open("rb") as file:
        file.seek(start)
        stored = Image.open(io.BytesIO(file.read(int(shard.ends[index]) - start)))
    full = stored.size
    whole = canvas[0] / full[0]
    scale = whole * math.exp(rng.uniform(-0.2, 0.1))
    if rng.random() < 0.35:
        scale = rng.uniform(whole, max(1.1 * whole, 1.0))
    stored.draft(
        "RGB", (round(full[0] * scale), round(full[1] * scale))
    )  # decodes a half or a quarter where that will do
    picture = stored.convert("RGB")
    size = (round(full[0] * scale), round(full[1] * scale))
    dx, dy = (rng.randint(min(0, c - s), max(0, c - s)) for c, s in zip(canvas, size, strict=True))
    left, top, right, bottom = max(0, dx), max(0, dy), min(canvas[0], dx + size[0]), min(canvas[1], dy + size[1])
    fit = picture.width / size[0]
    region = (
        (left - dx) * fit,
        (top - dy) * fit,
        min((right - dx) * fit, picture.width),
        min((bottom - dy) * fit, picture.height),
    )
    page = Image.new("RGB", canvas, (GREY,) * 3)
    page.paste(picture.resize((right - left, bottom - top), Image.Resampling.BILINEAR, region), (left, top))
    pixels = np.asarray(page)
    boxes = shard.boxes[index].copy()
    boxes[:, 1:] = boxes[:, 1:] * scale + np.asarray([dx, dy, dx, dy], np.float32)
    area = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
    boxes[:, 1::2], boxes[:, 2::2] = boxes[:, 1::2].clip(0, canvas[0]), boxes[:, 2::2].clip(0, canvas[1])
    sides = np.minimum(boxes[:, 3] - boxes[:, 1], boxes[:, 4] - boxes[:, 2])
    left = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
    boxes = boxes[(sides >= 4) & (left >= 0.25 * area)]
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
        boxes[:, [1, 3]] = canvas[0] - boxes[:, [3, 1]]
    if rng.random() < 0.5:
        gain, gamma = rng.uniform(0.7, 1.3), math.exp(rng.uniform(-0.3, 0.3))
        pixels = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)[pixels]
    if rng.random() < 0.1:
        pixels = np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    return pixels, boxes


def batch(
    shards: list[Collection], count: int, canvas: tuple[int, int], rng: random.Random
) -> tuple[Tensor, Tensor, Tensor]:
    """Images uint8 [N, 3, H, W], boxes [N, G, 4] and labels [N, G] (-1: none) of random scenes."""
    images, truth, labels = [], torch.zeros(count, MOST_FIGURES, 4), torch.full((count, MOST_FIGURES), -1)
    for i in range(count):
        shard = rng.choice(shards)
        index = rng.randrange(len(shard))
        if len(shard.boxes[index]) == 0 and rng.random() < 0.4:
            index = rng.randrange(len(shard))  # empty scenes teach less: take them less often
        pixels, boxes = sample(shard, index, canvas, rng)
        images.append(torch.tensor(pixels.copy()).permute(2, 0, 1))
        for j, row in enumerate(boxes[:MOST_FIGURES]):
            labels[i, j], truth[i, j] = int(row[0]), torch.from_numpy(row[1:])
    return torch.stack(images), truth, labels


def prefetched(
    make: Callable[[], tuple[Tensor, Tensor, Tensor]], ahead: int = 3
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches, made in a thread while the last one is learnt."""
    line: queue.Queue[tuple[Tensor, Tensor, Tensor]] = queue.Queue(ahead)

    def work() -> None:
        while True:
            line.put(make())

    threading.Thread(target=work, daemon=True).start()
    while True:
        yield line.get()


def shards_in(folder: Path) -> list[Collection]:
    """The training scenes drawn so far, in shards."""
    names = sorted(path.stem for path in folder.glob("train-*.npz"))
    return [draw_collection(folder, name, range(0)) for name in names]


def average_into(slow: Detector, fast: Detector, keep: float) -> None:
    """Moves the averaged weights towards the current ones."""
    with torch.no_grad():
        for (_, a), (_, b) in zip(slow.state_dict().items(), fast.state_dict().items(), strict=True):
            if a.dtype.is_floating_point:
                a.mul_(keep).add_(b, alpha=1 - keep)
            else:
                a.copy_(b)


def train(folder: Path, minutes: float, start: Path | None, peak: float, small_share: float, threads: int) -> Path:
    """Trains for some minutes and returns the file of averaged weights, which is rewritten every minute."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rng = random.Random(0 if start is None else 1)
    model = Detector()
    if start is not None:
        model.load_state_dict(torch.load(start, weights_only=True))
    slow = copy.deepcopy(model)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=peak
    )
    progress, began, saved, step, seen = 0.0, time.monotonic(), time.monotonic(), 0, 0
    running = 0.0

    shards = shards_in(folder)

    def make() -> tuple[Tensor, Tensor, Tensor]:
        small = progress < small_share
        canvas = rng.choice(SMALL if small else FULL)
        return batch(shards, 16 if small else 8, canvas, rng)

    for images, truth, labels in prefetched(make):
        progress = (time.monotonic() - began) / (60 * minutes)
        if progress >= 1:
            break
        rate = peak * min(1.0, (step + 1) / 60) * max(0.01, 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            grids = model.grids(images.float() / 255)
        total, parts = loss(grids, truth, labels)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        step, seen = step + 1, seen + len(images)
        average_into(slow, model, min(0.998, (1 + step) / (10 + step)))
        running = total.item() if step == 1 else 0.97 * running + 0.03 * total.item()
        if step % 50 == 0:
            speed = seen / (time.monotonic() - began)
            print(f"{progress:6.1%} step {step} images {seen} ({speed:.1f}/s) loss {running:.3f} {parts}", flush=True)
        if time.monotonic() - saved > 60:
            torch.save(slow.state_dict(), folder / "weights.partial")
            (folder / "weights.partial").replace(folder / "weights.pt")
            saved = time.monotonic()
    torch.save(slow.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def main() -> None:
    """Draws the scenes that are missing, then trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/scenes"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--small-share", type=float, default=0.5, help="share of the time spent on small images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-drawing", action="store_true", help="take the scenes that are there")
    options = parser.parse_args()
    if not options.no_drawing:
        for k in range(options.scenes // SHARD):
            first = TRAIN_SEED + k * SHARD
            draw_collection(options.folder, f"train-{k:02d}", range(first, first + SHARD))
    path = train(options.folder, options.minutes, options.start, options.peak, options.small_share, options.threads)
    print(path)


if __name__ == "__main__":
    main()
