"""Trains the demonstration detector on drawn scenes: `python -m training.train FOLDER`.

Needs torch (extra `train`); nothing that runs the model does. FOLDER keeps the drawn scenes and the weights.
"""

import argparse
import copy
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing
from PIL import Image
from torch import Tensor, distributed

from training.collection import Collection, draw_collection, load_collection
from training.losses import loss
from training.network import Detector
from trapstream.scenes.canvas import Array

TRAIN_SEED = 1_000_000
SHARD = 1000
WORKERS = 2  # processes, of one thread each
GREY = 114
MOST_FIGURES = 8
TOGETHER = 8  # steps between two averagings of the workers
SMALL = ((128, 128), (128, 128), (160, 128))
FULL = ((640, 480), (512, 384), (320, 256))
CLOSE = 200  # canvases narrower than this look closely
BATCH_PIXELS = 1_100_000
PEAK = 3e-3  # highest learning rate
SMALL_SHARE = 0.6  # of the time, spent on small images


def view(boxes: Array, full: tuple[int, int], canvas: tuple[int, int], rng: random.Random) -> tuple[float, int, int]:
    """How a scene of size `full` is shown on the canvas: its scale, and where its left upper corner lies.

    Small canvases look closely at one figure (or at clutter): they hold more to learn a pixel. Large ones show all.
    """
    whole = canvas[0] / full[0]
    scale = whole * math.exp(rng.uniform(-0.2, 0.1))
    aim: tuple[float, float] | None = None
    if canvas[0] < CLOSE:
        scale = math.exp(rng.uniform(math.log(0.3), math.log(1.15)))
        if len(boxes) and rng.random() < 0.9:
            x0, y0, x1, y1 = (float(v) for v in boxes[rng.randrange(len(boxes))][1:])
            longer = max(x1 - x0, y1 - y0)
            scale = math.exp(rng.uniform(math.log(14), math.log(0.95 * canvas[0]))) / longer
            if longer < 0.9 * canvas[0] and rng.random() < 0.6:
                scale = rng.uniform(0.75, 1.2)
            scale = min(2.0, max(0.15, scale))
            aim = ((x0 + x1) / 2, (y0 + y1) / 2)
    elif rng.random() < 0.3:
        scale = rng.uniform(whole, max(1.1 * whole, 1.0))
    corner = []
    for axis in (0, 1):
        room = canvas[axis] - round(full[axis] * scale)
        at = rng.randint(min(0, room), max(0, room))
        if aim is not None:
            at = round(canvas[axis] * rng.uniform(0.3, 0.7) - aim[axis] * scale)
            at = max(min(0, room), min(max(0, room), at))
        corner.append(at)
    return scale, corner[0], corner[1]


def sample(shard: Collection, index: int, canvas: tuple[int, int], rng: random.Random) -> tuple[Array, Array]:
    """A scene changed a little and put on a canvas (width, height): uint8 [H, W, 3] and boxes [n, 5]."""
    image = shard.pixels[index]
    full = (image.shape[1], image.shape[0])
    scale, dx, dy = view(shard.boxes[index], full, canvas, rng)
    size = (round(full[0] * scale), round(full[1] * scale))
    left, top, right, bottom = max(0, dx), max(0, dy), min(canvas[0], dx + size[0]), min(canvas[1], dy + size[1])
    x0, y0 = int((left - dx) / scale), int((top - dy) / scale)
    x1, y1 = math.ceil((right - dx) / scale), math.ceil((bottom - dy) / scale)
    step = 2 if scale < 0.4 else 1
    part = Image.fromarray(np.ascontiguousarray(image[y0:y1:step, x0:x1:step]))
    page = Image.new("RGB", canvas, (GREY,) * 3)
    page.paste(part.resize((right - left, bottom - top), Image.Resampling.BILINEAR), (left, top))
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
        shard = shards[rng.randrange(len(shards))]
        index = rng.randrange(len(shard))
        if len(shard.boxes[index]) == 0 and rng.random() < 0.5:
            index = rng.randrange(len(shard))  # empty scenes teach less: take them less often
        pixels, boxes = sample(shard, index, canvas, rng)
        images.append(torch.tensor(pixels.copy()).permute(2, 0, 1))
        for j, row in enumerate(boxes[:MOST_FIGURES]):
            labels[i, j], truth[i, j] = int(row[0]), torch.from_numpy(row[1:])
    return torch.stack(images), truth, labels


def average_into(slow: Detector, fast: Detector, keep: float) -> None:
    """Moves the averaged weights towards the current ones."""
    with torch.no_grad():
        for (_, a), (_, b) in zip(slow.state_dict().items(), fast.state_dict().items(), strict=True):
            if a.dtype.is_floating_point:
                a.mul_(keep).add_(b, alpha=1 - keep)
            else:
                a.copy_(b)


def agree(model: Detector, progress: float) -> float:
    """Averages the weights of all workers, in place. Returns their mean progress."""
    tensors = [t for t in model.state_dict().values() if t.dtype.is_floating_point]
    flat = torch.cat([*(t.flatten() for t in tensors), torch.tensor([progress])])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    with torch.no_grad():
        for tensor, part in zip(tensors, flat[:-1].split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))
    return float(flat[-1])


def train(rank: int, options: argparse.Namespace) -> None:
    """One worker's share. The workers learn alone and average their weights every few steps.

    The first keeps a slow average of the weights, and rewrites its file every minute.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    meeting = f"file://{(options.folder / 'meeting').absolute()}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    rng = random.Random(rank)
    model = Detector()
    slow = copy.deepcopy(model)
    shards = [load_collection(options.folder, path.stem) for path in sorted(options.folder.glob("train-*.npz"))]
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=PEAK)
    began, saved, step, seen, running, progress = time.monotonic(), time.monotonic(), 0, 0, 0.0, 0.0

    while progress < 1:
        canvas = rng.choice(SMALL if progress < SMALL_SHARE else FULL)
        images, truth, labels = batch(shards, BATCH_PIXELS // (canvas[0] * canvas[1]), canvas, rng)
        rate = PEAK * min(1.0, (step + 1) / 60) * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
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
        running = total.item() if step == 1 else 0.97 * running + 0.03 * total.item()
        if step % TOGETHER:
            continue
        progress = agree(model, (time.monotonic() - began) / (60 * options.minutes))
        average_into(slow, model, min(0.985, (1 + step / TOGETHER) / (10 + step / TOGETHER)))
        if rank == 0 and (progress >= 1 or time.monotonic() - saved > 60):
            torch.save(slow.state_dict(), options.folder / "weights.partial")
            (options.folder / "weights.partial").replace(options.folder / "weights.pt")
            saved = time.monotonic()
        if rank == 0 and step % (6 * TOGETHER) == 0:
            speed = WORKERS * seen / (time.monotonic() - began)
            print(f"{progress:6.1%} step {step} images {seen} ({speed:.1f}/s) loss {running:.3f} {parts}", flush=True)
    distributed.barrier()


def main() -> None:
    """Draws the scenes that are missing, then trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--scenes", type=int, default=10_000)
    options = parser.parse_args()
    for k in range(options.scenes // SHARD):
        first = TRAIN_SEED + k * SHARD
        draw_collection(options.folder, f"train-{k:02d}", range(first, first + SHARD), WORKERS)
    (options.folder / "meeting").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (options,), WORKERS)
    print(options.folder / "weights.pt")


if __name__ == "__main__":
    main()
