"""The models of this machine: HOME/models/NAME/VERSION, each whole or absent, and the one of the package.

A bundle's folder has `model.onnx`, the graph that is served; `card.json`; and `raw.onnx`, the detector in float32 as
its reader made it, before it was completed.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

import model_repository
from trapstream.core.errors import TrapstreamError
from trapstream.core.result_store import sync_folder
from trapstream.models import deployed
from trapstream.models.card import Card, CardError, parse_card, read_card, sha256_of, write_card

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A name or a version: a file name everywhere, and no path. One that begins with a dot is the store's own."""
GRAPH, CARD, RAW = "model.onnx", "card.json", "raw.onnx"


class StoreError(TrapstreamError):
    """The store cannot do what is asked. One line that says what to do."""


class NoSuchModel(StoreError):
    """No bundle of that name and version."""


class BundleExists(StoreError):
    """Another bundle has that name and version."""


@dataclass(frozen=True)
class Bundle:
    """A model that is here."""

    folder: Path
    card: Card

    @property
    def label(self) -> str:
        """NAME@VERSION."""
        return f"{self.card.name}@{self.card.version}"

    @property
    def graph(self) -> Path:
        """The completed graph."""
        return self.folder / GRAPH


def models_folder(home: Path) -> Path:
    """Where the imported models of a home are."""
    return home / "models"


def folder(home: Path, name: str, version: str) -> Path:
    """The bundle's folder, whether it is there or not. StoreError for what can be no name or no version."""
    for what, text in (("name", name), ("version", version)):
        if not _NAME.fullmatch(text):
            raise StoreError(
                f"{text!r} can be no {what} of a model: letters, digits, dots, dashes and underscores, at most 100, "
                "beginning with a letter or a digit"
            )
    return models_folder(home) / name / version


def list_bundles(home: Path) -> list[Bundle]:
    """All models that are here: TRAPSTREAM_BUNDLE's and the package's first, then the imported, by name and age.

    The graphs are not read. CardError names a card that cannot be.
    """
    names = sorted(_visible(models_folder(home)))
    return [*package_bundles(), *(bundle for name in names for bundle in _imported(home, name))]


def package_bundles() -> list[Bundle]:
    """TRAPSTREAM_BUNDLE's, where it is set, and those of the package. Graphs are not read. CardError."""
    chosen = os.environ.get("TRAPSTREAM_BUNDLE")
    folders = [Path(chosen)] if chosen else []
    folders += sorted(path.parent for path in Path(model_repository.__path__[0]).glob(f"*/{CARD}"))
    return [Bundle(path, _card(path)) for path in folders]


def find(home: Path, label: str) -> Bundle:
    """The bundle called NAME or NAME@VERSION, with its graph held against its card.

    Without a version: the preferred one. NoSuchModel names those that are here; CardError says what is wrong with this.
    """
    name, _, version = label.partition("@")
    wanted = version or preferred(home, name)
    found = [bundle.folder for bundle in package_bundles() if (bundle.card.name, bundle.card.version) == (name, wanted)]
    if not found and wanted in _visible(models_folder(home) / name) and _NAME.fullmatch(name):
        found = [folder(home, name, wanted)]
    if not found:
        asked = f"{name}@{wanted}" if wanted else name
        here = ", ".join(_labels(home))
        raise NoSuchModel(f"no model {asked} here; there is {here}; `trapstream model import` adds one")
    return Bundle(found[0], read_card(found[0] / CARD))


def preferred(home: Path, name: str) -> str:
    """The version that jobs get that name none: the default one of those that were deployed, else the package's, which
    is served where nothing was deployed, else the one imported last. Empty where there is none."""
    if chosen := deployed.read(home).of(name).default:
        return chosen
    known = [bundle for bundle in package_bundles() if bundle.card.name == name] or _imported(home, name)[-1:]
    return known[0].card.version if known else ""


def newest(home: Path, label: str) -> Bundle:
    """As `find`, but without a version the one imported last: what there is to deploy."""
    name, _, version = label.partition("@")
    imported = [] if version else _imported(home, name)
    return find(home, imported[-1].label if imported else label)


def unless_taken(home: Path, name: str, version: str, file_sha256: str) -> None:
    """Tells before the work what `keep` would tell after it: BundleExists where another file's bundle has that name."""
    target = folder(home, name, version)
    own = any((bundle.card.name, bundle.card.version) == (name, version) for bundle in package_bundles())
    if own or (target.exists() and _card(target).file_sha256 != file_sha256):
        raise BundleExists(_taken(f"{name}@{version}"))


def keep(
    home: Path, card: Card, write: Callable[[Path], None], check: Callable[[Bundle], None] | None = None
) -> Bundle:
    """Keeps a new bundle, whole or not at all; its card gets the sha256 of its graph.

    1. `write` puts GRAPH and RAW into a draft, which nobody sees: killed here, the next `keep` removes it.
    2. `check` looks at the draft. What it raises ends the import.
    3. The draft gets its name. Killed after this, the bundle is there.

    One process at a time, others wait. The same bundle again is no error and changes nothing. BundleExists where
    another has its name, StoreError where it cannot be written.
    """
    models, target = models_folder(home), folder(home, card.name, card.version)
    try:
        with _draft_folder(models) as draft:
            write(draft)
            made = msgspec.structs.replace(card, sha256=sha256_of(draft / GRAPH))
            write_card(draft / CARD, made)
            if check is not None:
                check(Bundle(draft, made))
            if not target.exists():
                _publish(draft, target)
            elif _card(target) != made:
                raise BundleExists(_taken(f"{made.name}@{made.version}"))
    except OSError as error:
        raise StoreError(
            f"{card.name}@{card.version} could not be written to {models}: {error.strerror or error}; nothing of it "
            "was left there; make room, or choose another folder with --home"
        ) from error
    return Bundle(target, made)


def _taken(label: str) -> str:
    return f"there is another {label} already; give this one a --version of its own, or a --name"


def _labels(home: Path) -> list[str]:
    """The name and version of each model that is here, damaged or not."""
    models = models_folder(home)
    found = [f"{name}@{version}" for name in sorted(_visible(models)) for version in sorted(_visible(models / name))]
    return [*(bundle.label for bundle in package_bundles()), *found]


@contextlib.contextmanager
def _draft_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` that nobody sees, and that is gone after the block unless it was published.

    One process at a time. The draft of one that was killed is removed. OSError as the disk gives it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in parent.glob(".draft*"):
            shutil.rmtree(left)
        draft = parent / ".draft"
        draft.mkdir()
        try:
            yield draft
        finally:
            if draft.exists():
                shutil.rmtree(draft)


def _publish(draft: Path, target: Path) -> None:
    """Gives a draft its name, for good, with all that is in it on the disk."""
    for path in draft.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(draft)
    target.parent.mkdir(exist_ok=True)
    draft.rename(target)
    sync_folder(target.parent)
    sync_folder(target.parent.parent)


def _imported(home: Path, name: str) -> list[Bundle]:
    """The imported versions of a name, the oldest first."""
    if not _NAME.fullmatch(name):
        return []
    found = [folder(home, name, version) for version in sorted(_visible(models_folder(home) / name))]
    return sorted(
        (Bundle(path, _card(path)) for path in found), key=lambda each: (each.folder / CARD).stat().st_mtime_ns
    )


def _visible(path: Path) -> list[str]:
    """The folders in a folder that have the name of a model or of a version."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir() and _NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _card(path: Path) -> Card:
    """The card in a bundle's folder; its graph is not read."""
    try:
        return parse_card((path / CARD).read_bytes(), str(path / CARD))
    except OSError as error:
        raise CardError(f"{path / CARD}: {error.strerror or error}") from error
