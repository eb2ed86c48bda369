"""The card that comes with a model: what it is, what it needs, and how good it was measured to be."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from trapstream.core.errors import TrapstreamError
from trapstream.core.messages import ModelInfo


class CardError(TrapstreamError):
    """A card that cannot be read, or that does not belong to the graph beside it."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A model's card.

    Thresholds are confidences from 0 to 1; `classes` maps a category (class index + 1) to its name.
    """

    name: str
    version: str
    family: str
    classes: dict[str, str]
    image_size: int
    """Longest side of the network's input, in pixels."""
    stride: int
    """Both sides of the network's input are multiples of this."""
    fixed: tuple[int, int] | None = None
    """(height, width) of the only input that the graph takes; null where the minimum rectangle is letterboxed."""
    stretch: bool = False
    """The image is stretched to `fixed`, not letterboxed."""
    typical_detection_threshold: float
    conservative_detection_threshold: float
    precision: str
    sha256: str
    """Of model.onnx, in lower-case hex."""
    source: str
    licence: str
    warning: str = ""
    file_sha256: str = ""
    """Of the file that it was imported from, in lower-case hex."""
    measured: dict[str, Any] = {}
    seeds: dict[str, Any] = {}

    @property
    def info(self) -> ModelInfo:
        """What travels with a job."""
        return ModelInfo(
            name=self.name,
            version=self.version,
            sha256=self.sha256,
            image_size=self.image_size,
            stride=self.stride,
            fixed=self.fixed,
            stretch=self.stretch,
            classes=self.classes,
            typical_threshold=self.typical_detection_threshold,
            conservative_threshold=self.conservative_detection_threshold,
        )

    def __post_init__(self) -> None:
        """Refuses values that no model can have."""
        if not self.name or not self.version:
            raise ValueError("a card needs a name and a version")
        if sorted(self.classes, key=len) != [str(index + 1) for index in range(len(self.classes))] or not self.classes:
            raise ValueError("classes must be numbered from 1 without gaps")
        if self.stride < 1 or self.image_size < self.stride or self.image_size % self.stride:
            raise ValueError("image_size must be a multiple of stride")
        if self.fixed is not None and (min(self.fixed) < 1 or max(self.fixed) != self.image_size):
            raise ValueError("the longest side of fixed must be image_size")
        if self.stretch and self.fixed is None:
            raise ValueError("only a fixed input is stretched to")
        if not 0 <= self.conservative_detection_threshold <= self.typical_detection_threshold <= 1:
            raise ValueError("thresholds must rise from conservative to typical, between 0 and 1")


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_card(content: bytes, origin: str = "card.json") -> Card:
    """The card in these bytes. Raises CardError, which names `origin` and the field at fault."""
    try:
        return msgspec.json.decode(content, type=Card)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CardError(f"{origin}: {error}") from error


def read_card(path: Path) -> Card:
    """The card at `path`, checked against the graph that it describes, model.onnx beside it.

    Raises CardError with one line that says what is wrong.
    """
    graph = path.with_name("model.onnx")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CardError(f"{path}: {error.strerror or error}") from error
    card = parse_card(content, str(path))
    try:
        actual = sha256_of(graph)
    except OSError as error:
        raise CardError(f"{graph}: {error.strerror or error}") from error
    if actual != card.sha256:
        raise CardError(f"{graph} is not the graph of {path}: its sha256 is {actual}, the card says {card.sha256}")
    return card


def write_card(path: Path, card: Card) -> None:
    """Writes the card as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
