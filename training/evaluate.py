"""Measures the demonstration model on scenes that it has not seen.

`python -m training.evaluate --count 500` prints the accuracy. With `--write` it also
chooses the threshold, on other scenes, and writes the card.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

import model_repository.demonstration
from training.collection import SIZE, after_jpeg, truth_of
from training.measure import Accuracy, accuracy, best_threshold
from trapstream.models.card import Card, read_card, sha256_of, write_card
from trapstream.scenes.canvas import Array
from trapstream.scenes.scene import CATEGORIES, draw_scene

FOLDER = Path(model_repository.demonstration.__path__[0])
SEEDS, HELD_OUT_SEED = {"train": (1_000_000, 1_999_999), "validation": (2_000_000, 2_999_999)}, 3_000_000
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
    return np.asarray(after_jpeg(scene.image, JPEG_QUALITY).reduce(enlarged)), truth_of(scene, enlarged)


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


def show(title: str, result: Accuracy) -> None:
    """Prints one line of accuracy."""
    classes = ", ".join(f"{name} {value:.3f}" for name, value in zip(CATEGORIES, result.ap50, strict=True))
    print(f"{title}: mAP50 {result.map50:.3f} ({classes}), empty or not {result.balanced:.3f}", flush=True)


def new_card(model: Path, threshold: float, result: Accuracy, count: int) -> Card:
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
            "runtime": f"onnxruntime {ort.__version__}",
        },
        seeds=SEEDS | {"held_out": (HELD_OUT_SEED, HELD_OUT_SEED + count - 1)},
    )


def main() -> None:
    """Measures, prints, and with `--write` updates the card."""
    parser = argparse.ArgumentParser(description="Measures the demonstration model on scenes it has not seen.")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="choose the threshold and write the card")
    options = parser.parse_args()
    model, card = FOLDER / "model.onnx", FOLDER / "card.json"
    session = open_model(model)
    if options.write:
        first = SEEDS["validation"][0]
        threshold = best_threshold(*answers(session, range(first, first + options.count)))
    else:
        threshold = read_card(card).typical_detection_threshold
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + options.count)
    result = accuracy(*answers(session, seeds), threshold)
    show(f"{options.count} scenes at 640 x 480, threshold {threshold}", result)
    quarter = seeds[: max(1, options.count // 4)]
    show(f"{len(quarter)} scenes at 1280 x 960", accuracy(*answers(session, quarter, 2), threshold))
    if options.write:
        write_card(card, new_card(model, threshold, result, options.count))


if __name__ == "__main__":
    main()
