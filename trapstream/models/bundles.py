"""The models that are here: NAME[@VERSION] to what a job must know of it."""

import os
from pathlib import Path

import model_repository
from trapstream.core.errors import TrapstreamError
from trapstream.core.messages import ModelInfo
from trapstream.models.card import Card, read_card


class NoSuchModel(TrapstreamError):
    """No bundle of that name and version."""


def find(label: str) -> ModelInfo:
    """The bundle called NAME or NAME@VERSION. NoSuchModel names those that are here."""
    name, _, version = label.partition("@")
    cards = [read_card(path) for path in _cards()]
    for card in cards:
        if card.name == name and version in ("", card.version):
            return info_of(card)
    here = ", ".join(f"{card.name}@{card.version}" for card in cards)
    raise NoSuchModel(f"no model {label} here; there is {here or 'none'}")


def info_of(card: Card) -> ModelInfo:
    """What travels with a job of a bundle's card."""
    return ModelInfo(
        name=card.name,
        version=card.version,
        sha256=card.sha256,
        image_size=card.image_size,
        stride=card.stride,
        fixed=card.fixed,
        stretch=card.stretch,
        classes=card.classes,
        typical_threshold=card.typical_detection_threshold,
        conservative_threshold=card.conservative_detection_threshold,
    )


def _cards() -> list[Path]:
    """TRAPSTREAM_BUNDLE's card, where it is set, and those of the package."""
    chosen = os.environ.get("TRAPSTREAM_BUNDLE")
    own = [Path(chosen) / "card.json"] if chosen else []
    return own + sorted(Path(model_repository.__path__[0]).glob("*/card.json"))
