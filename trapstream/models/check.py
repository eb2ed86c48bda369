"""Holds a bundle against its original: the same images through both, and a report of what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from trapstream.core.errors import TrapstreamError
from trapstream.core.triton_names import TRITON_VERSION, triton_name
from trapstream.models.agreement import CONFIDENCE, ENOUGH, FLOOR, Difference, Rows, compare, floor_for
from trapstream.models.card import Card
from trapstream.models.original import NoOriginal, Original, Pixels, open_original, open_session

_ASK_SECONDS = 10.0
_ANSWER_SECONDS = 600.0
"""For one image: a large model on few cores, which others use too."""


class NotServed(TrapstreamError):
    """Triton does not serve this bundle. One line that says why."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as the network gets it."""

    name: str
    pixels: Pixels
    """RGB, [H, W, 3], after the letterbox."""
    frame: tuple[int, int]
    """Width and height of the image inside them, without padding."""


@dataclass(frozen=True)
class Side:
    """One way to run a bundle: what is held against the original."""

    name: str
    precision: str
    """What it is computed in: float32, float16 or bfloat16."""
    answer: Callable[[Pixels], Rows]
    """The detections of one image."""


@dataclass(frozen=True)
class Row:
    """One side of a report."""

    side: str
    precision: str
    differences: dict[str, Difference]
    """By image."""
    sure: int
    """Detections above FLOOR among what was compared."""

    @property
    def shown(self) -> bool:
        """Whether there was enough to see: a lower precision can go wrong for a few objects in many."""
        return self.precision == "float32" or self.sure >= ENOUGH

    @property
    def compared(self) -> int:
        """Detections that were compared."""
        return sum(max(each.compared, each.expected) for each in self.differences.values())

    @property
    def agrees(self) -> bool:
        """Whether nothing is out of tolerance."""
        return not any(each.faults for each in self.differences.values())

    @property
    def offending(self) -> tuple[str, str] | None:
        """The first image that is out of tolerance, and what is wrong with it."""
        return next(((name, each.faults[0]) for name, each in self.differences.items() if each.faults), None)

    def worst(self, figure: str) -> tuple[float, str]:
        """The largest `box` or `confidence` difference, and its image."""
        return max(((getattr(each, figure), name) for name, each in self.differences.items()), default=(0.0, ""))


@dataclass(frozen=True)
class Report:
    """What came of a check."""

    rows: tuple[Row, ...]
    floor: float
    """The confidence above which detections were compared; 0 where fewer than ENOUGH of some side are above FLOOR."""

    @property
    def compared(self) -> int:
        """Detections that were compared, of the side with the fewest."""
        return min((row.compared for row in self.rows), default=0)


def check_bundle(folder: Path, precision: str, pictures: Iterable[Picture], others: Sequence[Side] = ()) -> Report:
    """Holds the graph of the bundle in `folder`, and `others`, against the bundle's original. Raises NoOriginal.

    `precision` is the card's.
    """
    return check(open_original(folder), [in_onnxruntime(folder / "model.onnx", precision), *others], pictures)


def check(original: Original, sides: Sequence[Side], pictures: Iterable[Picture]) -> Report:
    """Runs each picture through the original and through every side. Keeps no pixels.

    A side's own errors become faults of that side.
    """
    sure: list[dict[str, Difference]] = [{} for _ in sides]
    unsure: list[dict[str, Difference]] = [{} for _ in sides]
    for picture in pictures:
        given = original.answer(picture.pixels, picture.frame)
        for side, above, below in zip(sides, sure, unsure, strict=True):
            tolerance = CONFIDENCE[side.precision]
            try:
                found = side.answer(picture.pixels)
            except Exception as error:  # whatever a runtime raises: it gave no answer
                text = f"no answer: {' '.join(str(error).split()) or type(error).__name__}"
                above[picture.name] = below[picture.name] = Difference(compared=0, expected=0, faults=(text,))
                continue
            above[picture.name] = compare(given, found, tolerance)
            below[picture.name] = compare(given, found, tolerance, floor_for(given, found))
    counts = [sum(max(each.compared, each.expected) for each in differences.values()) for differences in sure]
    rows = [
        Row(side.name, side.precision, above if count >= ENOUGH else below, count)
        for side, above, below, count in zip(sides, sure, unsure, counts, strict=True)
    ]
    return Report(tuple(rows), FLOOR if min(counts, default=0) >= ENOUGH else 0.0)


def in_onnxruntime(graph: Path, precision: str) -> Side:
    """The completed graph in ONNX Runtime. Raises NoOriginal where that refuses it."""
    try:
        session = open_session(graph)
    except Exception as error:  # ONNX Runtime has a class of its own for each way to refuse
        raise NoOriginal(f"ONNX Runtime refuses {graph}: {error}") from error

    def answer(pixels: Pixels) -> Rows:
        detections, count = session.run(["detections", "count"], {"images": pixels[None]})
        return rows_of(np.asarray(detections), np.asarray(count))

    return Side("bundle in ONNX Runtime", precision, answer)


def in_triton(server: str, card: Card) -> Side:
    """The bundle of `card` as it is served at `server` (host:port). Raises NotServed."""
    client = triton.InferenceServerClient(server)
    entry = triton_name(card.name, card.version)
    try:
        config = client.get_model_config(entry, TRITON_VERSION, client_timeout=_ASK_SECONDS).config
    except InferenceServerException as error:
        raise NotServed(f"it does not serve {card.name}@{card.version}: {' '.join(str(error).split())}") from error
    precision = config.parameters["precision"].string_value if "precision" in config.parameters else "float32"
    runtime = config.parameters["runtime"].string_value if "runtime" in config.parameters else config.backend

    def answer(pixels: Pixels) -> Rows:
        given = triton.InferInput("images", [1, *pixels.shape], "UINT8")
        given.set_data_from_numpy(pixels[None])
        outputs = [triton.InferRequestedOutput(name) for name in ("detections", "count")]
        answered = client.infer(entry, [given], TRITON_VERSION, outputs, client_timeout=_ANSWER_SECONDS)
        return rows_of(answered.as_numpy("detections"), answered.as_numpy("count"))

    return Side(f"Triton ({runtime})", card.precision if precision == "float32" else precision, answer)


def rows_of(detections: NDArray[np.float32], count: NDArray[np.int32]) -> Rows:
    """The rows of the one image of an answer; ValueError where the answer has not the form that it should have."""
    number = int(count.reshape(-1)[0])
    if (
        detections.ndim != 3
        or detections.shape[0] != 1
        or detections.shape[2] != 6
        or not 0 <= number <= detections.shape[1]
    ):
        raise ValueError(f"an answer of shape {detections.shape} with a count of {number}")
    return detections[0, :number]
