"""Class maps: which of a model's classes count as what in the results. Pure.

A map is one of: `keep`, the model's own classes; the name of a built-in map; or names of the model's classes with what
each is to be called. A class that a map does not name is dropped; several of one name become one class, with the best
score of its members.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from trapstream.core.errors import TrapstreamError

KEEP = "keep"
MEGADETECTOR = ("animal", "person", "vehicle")
"""What MegaDetector's classes are called, by class index."""

_COCO_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
_COCO_VEHICLES = ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat")
BUILT_IN: dict[str, dict[str, str]] = {
    "coco": {
        **dict.fromkeys(_COCO_ANIMALS, "animal"),
        "person": "person",
        **dict.fromkeys(_COCO_VEHICLES, "vehicle"),
    }
}
"""By name. COCO's own teddy bears and other toys are no animals; whatever carries people is a vehicle."""

_MOST_CLASSES = 10_000
_LONGEST_NAME = 200
_LARGEST_FILE = 1_000_000


class ClassMapError(TrapstreamError):
    """A class map that cannot be read, or that does not fit the model. One line that says what to do."""


@dataclass(frozen=True)
class Classes:
    """The classes of the results, by index."""

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    """For each, the indices of the model's classes whose best score it gets."""

    @property
    def categories(self) -> dict[str, str]:
        """As cards have them: class index + 1 to the name."""
        return {str(index + 1): name for index, name in enumerate(self.names)}


def keep(names: tuple[str, ...]) -> Classes:
    """The model's own classes, as they are."""
    return Classes(names, tuple((index,) for index in range(len(names))))


def choose(names: tuple[str, ...], wanted: str | Mapping[str, str] | None) -> Classes:
    """The classes that a model of `names` gets.

    `wanted` is KEEP, the name of a built-in map, or a map. None is for models that need none: those that have
    MegaDetector's three, in whatever order and case. ClassMapError says what else is needed, or what is unknown.
    """
    if wanted is None:
        if sorted(name.lower() for name in names) != sorted(MEGADETECTOR):
            raise ClassMapError(
                f"the model's classes are {_listed(names)}: say with --classes what becomes of them: keep, "
                f"{', '.join(BUILT_IN)}, or a JSON file of {{name of the model's: name in the results}}"
            )
        return apply(names, {name: name.lower() for name in names})
    if isinstance(wanted, str):
        if wanted == KEEP:
            return keep(names)
        if wanted not in BUILT_IN:
            raise ClassMapError(f"no class map {wanted}: there is {', '.join((KEEP, *BUILT_IN))}, or a JSON file")
        wanted = BUILT_IN[wanted]
    return apply(names, wanted)


def apply(names: tuple[str, ...], wanted: Mapping[str, str]) -> Classes:
    """The classes that `wanted` makes of a model's, in the order in which the map first names them.

    MegaDetector's three come first, in its order: tools know them by number. ClassMapError names a class that the
    model does not have, and those that are nearest to it.
    """
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"did you mean {_listed(near)}?" if near else f"it has {_listed(names)}"
            raise ClassMapError(f"the model has no class {name!r}; {hint}")
    if not wanted:
        raise ClassMapError("the class map is empty: nothing would ever be found")
    targets = list(dict.fromkeys(wanted.values()))
    ordered = [name for name in MEGADETECTOR if name in targets]
    ordered += [name for name in targets if name not in MEGADETECTOR]
    members = tuple(
        tuple(index for index, name in enumerate(names) if wanted.get(name) == target) for target in ordered
    )
    return Classes(tuple(ordered), members)


def parse_map(content: bytes, origin: str) -> dict[str, str]:
    """The map in a JSON file's bytes. ClassMapError names `origin`."""
    if len(content) > _LARGEST_FILE:
        raise ClassMapError(f"{origin}: larger than {_LARGEST_FILE:,} bytes, which no class map is")
    try:
        wanted = msgspec.json.decode(content, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ClassMapError(
            f'{origin}: {error}; a class map is a JSON object such as {{"fox": "animal", "car": "vehicle"}}'
        ) from error
    checked_names(tuple(wanted.values()), origin)
    return wanted


def checked_names(names: tuple[str, ...], origin: str) -> tuple[str, ...]:
    """The names of a model's classes, as they came from outside. ClassMapError for what can be none."""
    if not names or len(names) > _MOST_CLASSES:
        raise ClassMapError(f"{origin}: {len(names):,} names of classes; a detector has 1 to {_MOST_CLASSES:,}")
    for name in names:
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise ClassMapError(f"{origin}: {name[:40]!r} can be no name of a class")
    return names


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
