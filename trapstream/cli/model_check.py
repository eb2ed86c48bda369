"""model check: does a bundle give the answers of its original?"""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from trapstream.cli.context import Context, say
from trapstream.cli.exits import CommandError
from trapstream.local import control
from trapstream.models import bundle_store, pictures
from trapstream.models.agreement import BOX, CONFIDENCE, ENOUGH, FLOOR, TOP
from trapstream.models.check import NotServed, Report, Side, check_bundle, in_triton


@click.command()
@click.argument("name", metavar="NAME[@VERSION]")
@click.option(
    "--images", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of photographs to check with.  [default: a few drawn scenes]",
)  # fmt: skip
@click.pass_obj
def check(context: Context, name: str, images: Path | None) -> None:
    """Run the same images through a model's original, its bundle and Triton, and show what differs."""
    bundle = bundle_store.find(context.home, name)
    served, unasked = _served(context.home, bundle)
    skipped: list[str] = []
    chosen = pictures.in_folder(bundle.card, images, skipped) if images else pictures.drawn(bundle.card)
    report = check_bundle(bundle.folder, bundle.card.precision, chosen, served)
    Console().print(table(report))
    for line in (*notes(report, skipped), *([unasked] if unasked else [])):
        say(line)
    for row in report.rows:
        if row.offending:
            image, fault = row.offending
            raise CommandError(f"{bundle.label} fails the check: {row.side}, {image}: {fault}")
    if not report.compared:
        raise CommandError(
            f"nothing was found in any image, so nothing was compared; give {bundle.label} a folder with --images "
            "that holds what it knows"
        )
    for row in report.rows:
        if not row.shown:
            raise CommandError(
                f"{row.sure} detections above {FLOOR} are too few to show that {row.side} answers as the original in "
                f"{row.precision}: {ENOUGH} do; give {bundle.label} a folder with --images that holds what it knows"
            )


def table(report: Report) -> Table:
    """The report."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("", no_wrap=True)
    for column in ("images", "found", "worst box", "confidence", "ties"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("")
    for row in report.rows:
        found, expected = (sum(getattr(d, kind) for d in row.differences.values()) for kind in ("compared", "expected"))
        shown.add_row(
            row.side,
            str(len(row.differences)),
            str(found) if found == expected else f"{found}, not {expected}",
            f"{row.worst('box')[0]:.5f}/{BOX}",
            f"{row.worst('confidence')[0]:.4f}/{CONFIDENCE[row.precision]}",
            str(sum(each.ties for each in row.differences.values())),
            "passes" if row.agrees else f"[red]fails[/red]: {row.offending[0] if row.offending else ''}",
        )
    return shown


def notes(report: Report, skipped: list[str]) -> list[str]:
    """What the table does not say."""
    lines = []
    if report.compared and report.floor < FLOOR:
        sure = min(row.sure for row in report.rows)
        lines.append(
            f"the images have {sure} detections above {FLOOR}, which is few: the {TOP} surest of each image were "
            "compared, however unsure they are"
        )
    if skipped:
        lines.append(f"{len(skipped)} files are no images that can be decoded, the first one is {skipped[0]}")
    return lines


def _served(home: Path, bundle: bundle_store.Bundle) -> tuple[list[Side], str]:
    """The bundle in the Triton of the stack that is up; or one line that says why that is not asked."""
    stack = control.running(home)
    if stack is None or stack.state != "up":
        return [], f"Triton was not asked: no stack is up in {home}; start one with `trapstream up -d`"
    try:
        return [in_triton(stack.endpoints["triton-grpc"], bundle.card)], ""
    except NotServed as error:
        return [], f"Triton was not asked: {error}; `trapstream model deploy {bundle.label}` loads it"
