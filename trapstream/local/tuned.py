"""The settings that `trapstream bench tune` found best for a home: what its stack takes where nothing else is said.

They stand in HOME/settings.json. A variable of the environment goes before them, and they go before what the stack
would choose by itself.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from trapstream.core.result_store import whole_file
from trapstream.local.state import StackError

INSTANCES = "TRAPSTREAM_TRITON_INSTANCES"
NAMES = (
    INSTANCES,
    "TRAPSTREAM_DECODERS",
    "TRAPSTREAM_DECODE_THREADS",
    "TRAPSTREAM_SLABS",
    "TRAPSTREAM_BATCH",
    "TRAPSTREAM_FETCHES",
)
"""All that may stand there. What changes answers, or what may be read, is never tuned."""


class Tuned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    v: Literal[1] = 1
    model: str
    """NAME@VERSION of the model that they were found with."""
    cores: int
    """Of the machine that they were found on."""
    gain: float
    """The rate with them, divided by that without."""
    settings: dict[str, int]

    @property
    def words(self) -> str:
        """The settings for people."""
        return ", ".join(f"{name.removeprefix('TRAPSTREAM_')}={value}" for name, value in self.settings.items())


def settings_file(home: Path) -> Path:
    """Where it stands."""
    return home / "settings.json"


def read(home: Path) -> Tuned | None:
    """What was found for this home; None where nothing was. StackError for a damaged file."""
    path = settings_file(home)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Tuned)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise StackError(f"{path}: {error}; remove it, and `trapstream bench tune` makes it anew") from error
    if wrong := [name for name, value in found.settings.items() if name not in NAMES or value < 1]:
        raise StackError(f"{path}: {wrong[0]} cannot stand there; remove it, and `trapstream bench tune` makes it anew")
    return found


def write(home: Path, found: Tuned) -> Path:
    """Replaces the file, whole or not at all; returns its path. OSError as the disk gives it."""
    home.mkdir(parents=True, exist_ok=True)
    with whole_file(settings_file(home)) as file:
        file.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return settings_file(home)


def defaults(home: Path) -> Mapping[str, str]:
    """The settings as variables, but those that the environment sets; none on a machine with another number of cores.

    StackError for a damaged file.
    """
    found = read(home)
    if found is None or not fits(found):
        return {}
    return {name: str(value) for name, value in found.settings.items() if not os.environ.get(name)}


def fits(found: Tuned) -> bool:
    """Whether they were found on a machine with as many cores as this one."""
    return found.cores == len(os.sched_getaffinity(0))


def said(home: Path) -> str | None:
    """One line for whoever starts the stack; None where nothing was found for this home."""
    found = read(home)
    if found is None:
        return None
    if not fits(found):
        return (
            f"{settings_file(home)} is of a machine with {found.cores} cores, and not used; "
            "`trapstream bench tune` makes it anew"
        )
    return f"settings that were tuned for {found.model}, {found.gain:.2f} x the usual rate: {found.words}"
