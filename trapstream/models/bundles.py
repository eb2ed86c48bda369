"""What a job must know of a model."""

from pathlib import Path

from trapstream.core.messages import ModelInfo
from trapstream.models import bundle_store as store
from trapstream.models.card import Card


def find(home: Path, label: str) -> ModelInfo:
    """The model called NAME or NAME@VERSION in this home. Errors as `store.find`."""
    return info_of(store.find(home, label).card)


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
