"""model import: from a detector's file to a bundle."""

from pathlib import Path
from typing import Any

import click

from trapstream.cli.context import Context, say
from trapstream.cli.exits import CommandError
from trapstream.cli.progress import progress
from trapstream.models import classes
from trapstream.models.importing import Imported, Options, import_model


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Default: as the published model is called, else after the file.")
@click.option("--version", help="Default: as the published model's, else 1.")
@click.option(
    "--classes", "wanted", metavar="MAP",
    help="keep, coco, or a JSON file: {name of the model's: name in the results}. Default: MegaDetector's three.",
)  # fmt: skip
@click.option("--names", metavar="A,B,...", help="The model's own classes in its order, where the file does not say.")
@click.option("--family", help="The layout of the outputs, where they could be several.")
@click.option("--image-size", type=click.IntRange(1), metavar="N", help="Longest side of the network's input.")
@click.option("--stride", type=click.IntRange(1), metavar="N", help="Sides of the input are multiples of it.")
@click.option("--threshold", type=click.FloatRange(0, 1), metavar="F", help="Confidence from which it is a detection.")
@click.option(
    "--precision", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
    help="What the network computes in; float16 halves the graph, for GPUs.",
)  # fmt: skip
@click.pass_obj
def import_(context: Context, /, file: Path, wanted: str | None, names: str | None, **told: Any) -> None:
    """Make a model of FILE: a YOLOv5 checkpoint such as MegaDetector's, or an ONNX export. Prints NAME@VERSION."""
    listed = tuple(each.strip() for each in names.split(",")) if names else None
    options = Options(classes=_map(wanted), names=listed, **told)
    with progress("importing", "weights") as report:
        imported = import_model(context.home, file, options, lambda step, count: report(count, None, step))
    print(imported.bundle.label)
    for line in _summary(imported):
        say(line)


def _map(wanted: str | None) -> str | dict[str, str] | None:
    """The class map that --classes means: a word, or the content of a file."""
    if wanted is None or wanted in (classes.KEEP, *classes.BUILT_IN):
        return wanted
    try:
        return classes.parse_map(Path(wanted).read_bytes(), wanted)
    except OSError as error:
        words = ", ".join((classes.KEEP, *classes.BUILT_IN))
        raise CommandError(f"--classes {wanted}: {error.strerror}; give {words}, or a JSON file") from error


def _summary(imported: Imported) -> list[str]:
    """A few lines for people."""
    card = imported.bundle.card
    size = f"{card.fixed[1]} x {card.fixed[0]}" if card.fixed else f"{card.image_size}, stride {card.stride}"
    return [
        f"{card.family}, image size {size}, finds {', '.join(card.classes.values())} from "
        f"{card.typical_detection_threshold:g}; licence: {card.licence}",
        *imported.notes,
        f"`trapstream model deploy {imported.bundle.label}` serves it",
    ]
