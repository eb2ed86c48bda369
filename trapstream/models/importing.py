"""From the file of a detector to a bundle: read, completed, described by a card, checked, kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnx

from trapstream.core.errors import TrapstreamError
from trapstream.models import bundle_store, classes, known
from trapstream.models.agreement import FLOOR
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import Card
from trapstream.models.check import check_bundle
from trapstream.models.complete import PREFIX, complete
from trapstream.models.exports import Hints, read_export
from trapstream.models.half import to_half
from trapstream.models.known import Recognised
from trapstream.models.onnx_file import ExportError
from trapstream.models.onnx_graph import hollow, large, write_graph
from trapstream.models.original import pack
from trapstream.models.pictures import drawn
from trapstream.models.raw import RawModel
from trapstream.models.yolov5.checkpoint import read_checkpoint

_TYPICAL, _CONSERVATIVE = 0.2, 0.1
"""MegaDetector's thresholds for models that it does not know."""
_SCENES = 2
"""Drawn scenes that a bundle is checked with: one lies, one stands."""
_CHECKPOINTS = (".pt", ".pth", ".ckpt")
_PICKLE, _ZIP = b"\x80", b"PK"

Progress = Callable[[str, int], None]
"""Is told the step, and how many weights were read."""


class ModelImportError(TrapstreamError):
    """A file that cannot become a bundle. One line that says what it needs to be told."""


@dataclass(frozen=True, kw_only=True)
class Options(Hints):
    """What the user says of the model. It goes before what the file says, and before what is known of it."""

    name: str | None = None
    version: str | None = None
    classes: str | Mapping[str, str] | None = None
    """As `classes.choose` takes it."""
    threshold: float | None = None
    precision: Literal["float32", "float16"] = "float32"
    """What the network computes in; boxes are decoded in float32 always."""


@dataclass(frozen=True)
class Imported:
    """What became of a file."""

    bundle: Bundle
    notes: tuple[str, ...]
    """What its user should know, a sentence each."""


def import_model(
    home: Path,
    file: Path,
    options: Options,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Makes a bundle of `file` in the store of `home`, whole or not at all, once it gives its original's answers.

    TrapstreamErrors say in one line what is wrong with the file, or what has to be told.
    """
    progress("looking at the file", 0)
    try:
        md5, sha256 = known.digests(file)
        found = known.recognise(file, md5)
        name, version = _label(file, options, found)
        bundle_store.unless_taken(home, name, version, sha256)
        raw = _read(file, options, found, progress)
    except OSError as error:
        raise ModelImportError(f"{file} cannot be read: {error.strerror or error}") from error
    if options.names is not None and options.names != raw.classes:
        raise ModelImportError(f"{file} says that its classes are {', '.join(raw.classes or ())}; leave --names away")
    names = raw.classes or (classes.MEGADETECTOR if found else None)
    if names is None:
        raise ModelImportError(
            f"{file} does not say what its classes are called: give --names in the model's order, such as --names "
            "animal,person,vehicle"
        )
    chosen = classes.choose(classes.checked_names(names, str(file)), options.classes)
    size, stride = _size(file, options, raw, found)
    typical, conservative = _thresholds(options, found)
    card = Card(
        name=name, version=version, family=raw.family, classes=chosen.categories, image_size=size, stride=stride,
        fixed=raw.fixed, stretch=raw.stretch, typical_detection_threshold=typical,
        conservative_detection_threshold=conservative, precision=options.precision, sha256="", file_sha256=sha256,
        source=found.known.source if found and found.certain else file.name,
        licence=found.known.licence if found else "unknown: ask the makers of the file",
    )  # fmt: skip
    parts = [raw]  # to be let go of before the check

    def write(draft: Path) -> None:
        progress("writing the bundle", 0)
        detector = parts.pop()
        shell = replace(detector, graph=hollow(detector.graph))
        write_graph(draft / bundle_store.RAW, pack(shell, chosen.members), large(detector.graph))
        if options.precision == "float16":
            detector = replace(detector, graph=_halved(file, detector))
            shell = replace(detector, graph=hollow(detector.graph))
        completed = complete(shell, members=chosen.members)
        write_graph(draft / bundle_store.GRAPH, completed, large(detector.graph, PREFIX))

    notes = [*raw.notes, *_notes(file, options, found)]
    del raw

    def check(bundle: Bundle) -> None:
        progress("checking the bundle against its original", 0)
        notes.extend(_checked(bundle))

    return Imported(bundle_store.keep(home, card, write, check), tuple(notes))


def _checked(bundle: Bundle) -> list[str]:
    """Holds a bundle against its original on drawn scenes. Notes for its user; ModelImportError where it differs."""
    report = check_bundle(bundle.folder, bundle.card.precision, drawn(bundle.card, _SCENES))
    for row in report.rows:
        if row.offending:
            image, fault = row.offending
            raise ModelImportError(f"the bundle does not answer as the file does ({row.side}, {image}): {fault}")
    photographs = f"`trapstream model check {bundle.label} --images DIR` does it with photographs"
    if not report.compared:
        return [f"nothing was found in the drawn scenes of the check, so no answers were compared; {photographs}"]
    return [
        f"the drawn scenes of the check show too little of {row.precision} ({row.sure} detections above {FLOOR}); "
        f"{photographs}"
        for row in report.rows
        if not row.shown
    ]


def _halved(file: Path, detector: RawModel) -> onnx.ModelProto:
    try:
        return to_half(detector.graph)
    except ValueError as error:
        raise ModelImportError(f"{file} cannot be had in float16: {error}") from error


def _read(file: Path, options: Options, found: Recognised | None, progress: Progress) -> RawModel:
    """The detector in the file, whatever kind of file it is."""
    with file.open("rb") as content:
        start = content.read(2)
    if file.suffix.lower() in _CHECKPOINTS or start == _ZIP or start[:1] == _PICKLE:
        return read_checkpoint(file, lambda count: progress("reading", count))
    progress("reading", 0)
    try:
        return read_export(file, options)
    except ExportError:
        if found is None:
            raise
        # The file of a known model may say less of itself than is known of it.
        size, stride = options.image_size or found.known.image_size, options.stride or found.known.stride
        names = options.names or classes.MEGADETECTOR
        return read_export(file, replace(options, image_size=size, stride=stride, names=names))


def _label(file: Path, options: Options, found: Recognised | None) -> tuple[str, str]:
    """Name and version: as told, else as known, else after the file."""
    stem = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in file.stem).strip("-")
    name = options.name or (found.known.name if found else stem or "model")
    return name, options.version or (found.known.version if found else "1")


def _size(file: Path, options: Options, raw: RawModel, found: Recognised | None) -> tuple[int, int]:
    """Image size and stride, which fit together."""
    size = options.image_size or raw.image_size or (found.known.image_size if found else None)
    stride = options.stride or raw.stride or (found.known.stride if found else None)
    if stride is None:
        raise ModelImportError(f"{file} does not say its stride: give --stride, which is 32 for most detectors")
    if raw.stride is not None and stride % raw.stride:
        raise ModelImportError(f"--stride {stride} cannot be: the model's largest stride is {raw.stride}")
    if size is None:
        usual = "1280, as MegaDetector v5's" if stride == 64 else "640"
        raise ModelImportError(
            f"{file} does not say the image size that it was trained at: give --image-size; for its stride of {stride} "
            f"the usual one is {usual}"
        )
    if size % stride or size < stride:
        raise ModelImportError(f"--image-size {size} cannot be: it has to be a multiple of the stride, {stride}")
    return size, stride


def _thresholds(options: Options, found: Recognised | None) -> tuple[float, float]:
    """Typical and conservative. A typical one that is told keeps the conservative one below it."""
    typical = options.threshold if options.threshold is not None else (found.known.typical if found else _TYPICAL)
    return typical, min(found.known.conservative if found else _CONSERVATIVE, typical)


def _notes(file: Path, options: Options, found: Recognised | None) -> list[str]:
    notes = []
    if found is not None and not found.certain and found.known.md5 and file.suffix == Path(found.known.file).suffix:
        notes.append(
            f"{file.name} is called as {found.known.name} is, but is not the published file: its md5 is another; what "
            "is known of that model was taken for it"
        )
    if found is None and options.threshold is None:
        notes.append(f"the threshold for a detection is {_TYPICAL}, since none was given with --threshold")
    return notes
