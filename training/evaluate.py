"""Measures the demonstration model on scenes that it has not seen.

`python -m training.evaluate --count 500` prints accuracy and speed. With `--write` it also
chooses the threshold, on other scenes, and writes the card.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

import model_repository.demonstration
from training.measure import Accuracy, accuracy, best_threshold
from trapstream.models.card import Card, read_card, sha256_of, write_card
from trapstream.scenes.canvas import Array
from trapstream.scenes.scene import CATEGORIES, draw_scene

FOLDER = Path(model_repository.demonstration.__path__[0])
TRAIN_SEEDS, VALIDATION_SEEDS, HELD_OUT_SEED = (1_000_000, 1_999_999), (2_000_000, 2_999_999), 3_000_000
SIZE = (640, 480)
JPEG_QUALITY = 88
WARNING = "For demonstration, not for science: trained on drawn scenes only, it knows nothing of real photographs."


def open_model(path: Path) -> ort.InferenceSession:
    """The completed graph in ONNX Runtime, on one core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def photograph(seed: int, enlarged: int = 1) -> tuple[Array, Array]:
    """Scene `seed` after JPEG, as the network sees it: uint8 [480, 640, 3], and its truth [n, 5] (class, corners).

    With `enlarged` 2 the scene is drawn at twice the size. Halving then averages two by two pixels, which is what a
    linear resize without antialiasing does there.
    """
    scene = draw_scene(seed, (SIZE[0] * enlarged, SIZE[1] * enlarged))
    buffer = io.BytesIO()
    scene.image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    picture = Image.open(buffer).convert("RGB").reduce(enlarged)
    rows = [
        (CATEGORIES.index(b.category), b.x_min, b.y_min, b.x_min + b.width, b.y_min + b.height) for b in scene.boxes
    ]
    truth = np.asarray(rows, np.float32).reshape(-1, 5)
    truth[:, 1:] /= enlarged
    return np.asarray(picture), truth


def detect(session: ort.InferenceSession, image: Array) -> Array:
    """The detections [n, 6] in one image."""
    detections, count = session.run(["detections", "count"], {"images": image[None]})
    return np.asarray(detections[0][: int(count[0])])


def answers(session: ort.InferenceSession, seeds: range, enlarged: int = 1) -> tuple[list[Array], list[Array]]:
    """Detections and truths of the scenes of these seeds."""
    found, truths = [], []
    for done, seed in enumerate(seeds, start=1):
        image, truth = photograph(seed, enlarged)
        found.append(detect(session, image))
        truths.append(truth)
        if done % 100 == 0:
            print(f"{done} of {len(seeds)} scenes", file=sys.stderr, flush=True)
    return found, truths


def images_per_second(session: ort.InferenceSession, runs: int = 100) -> float:
    """The speed of runs with one 640 x 480 image each: of the fastest tenth; slower ones measure the neighbours."""
    image, _ = photograph(HELD_OUT_SEED)
    spans = []
    for _ in range(runs + 5):
        began = time.perf_counter()
        session.run(None, {"images": image[None]})
        spans.append(time.perf_counter() - began)
    return float(1 / np.quantile(spans[5:], 0.1))


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def show(title: str, result: Accuracy) -> None:
    """Prints one line of accuracy."""
    classes = ", ".join(f"{name} {value:.3f}" for name, value in zip(CATEGORIES, result.ap50, strict=True))
    print(f"{title}: mAP50 {result.map50:.3f} ({classes}), empty or not {result.balanced:.3f}", flush=True)


def new_card(model: Path, threshold: float, result: Accuracy, speed: float, count: int, seed: int) -> Card:
    """The card of the graph at `model`."""
    return Card(
        name="demonstration",
        version="1",
        family="trapstream-demonstration",
        classes={str(index): name for index, name in enumerate(CATEGORIES, start=1)},
        image_size=640,
        stride=32,
        typical_detection_threshold=threshold,
        conservative_detection_threshold=round(threshold / 2, 3),
        precision="float32",
        sha256=sha256_of(model),
        source="trained in this repository on scenes that it draws: model_repository/demonstration",
        licence="Apache-2.0",
        warning=WARNING,
        measured={
            "map50": round(result.map50, 3),
            "ap50": {name: round(value, 3) for name, value in zip(CATEGORIES, result.ap50, strict=True)},
            "empty_balanced_accuracy": round(result.balanced, 3),
            "scenes": count,
            "images_per_second_one_core": round(speed, 1),
            "processor": f"{processor()}, {os.cpu_count()} cores",
            "runtime": f"onnxruntime {ort.__version__}",
        },
        seeds={"train": TRAIN_SEEDS, "validation": VALIDATION_SEEDS, "held_out": (seed, seed + count - 1)},
    )


def main() -> None:
    """Measures, prints, and with `--write` updates the card."""
    parser = argparse.ArgumentParser(description="Measures the demonstration model on scenes it has not seen.")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--model", type=Path, default=FOLDER / "model.onnx")
    parser.add_argument("--write", action="store_true", help="choose the threshold and write the card")
    options = parser.parse_args()
    session = open_model(options.model)
    if options.write:
        threshold = best_threshold(*answers(session, range(VALIDATION_SEEDS[0], VALIDATION_SEEDS[0] + options.count)))
    else:
        threshold = read_card(options.model.with_name("card.json")).typical_detection_threshold
    seeds = range(options.seed, options.seed + options.count)
    result = accuracy(*answers(session, seeds), threshold)
    show(f"{options.count} scenes at 640 x 480, threshold {threshold}", result)
    quarter = seeds[: max(1, options.count // 4)]
    show(f"{len(quarter)} scenes at 1280 x 960", accuracy(*answers(session, quarter, 2), threshold))
    speed = images_per_second(session)
    print(f"{speed:.1f} images/s on one core of {processor()}")
    if options.write:
        card = new_card(options.model, threshold, result, speed, options.count, options.seed)
        write_card(options.model.with_name("card.json"), card)


if __name__ == "__main__":
    main()
