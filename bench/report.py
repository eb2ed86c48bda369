"""What is left of a run: a table on the terminal, a page that stands alone, a picture, and a row for the docs."""

import html
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bench import plots
from bench.plots import Bar, Chart
from bench.records import Book, Record

_SECTION = "## By commit"
_COLUMNS = {
    "loop 1280": "pipeline / loop, 1280 x 960",
    "loop 2048": "pipeline / loop, 2048 x 1536",
    "processor 1280": "loop / pipeline, processor time an image, 1280 x 960",
    "overhead": "processor time outside decode and model, 640 x 480",
    "damage": "1 % damaged / none, 1280 x 960",
    "live p99": "upload to event beside a backfill / alone, p99",
}
"""A column of the regression table, and the measure in it."""


def number(value: float) -> str:
    """A figure with the digits that it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def state(found: Record) -> str:
    """What is to be said of a figure."""
    notes = [] if found.stable else ["runs differ"]
    if found.reached is not None:
        notes.append("reached" if found.reached else "not reached")
    return ", ".join(notes)


def table(records: Sequence[Record]) -> Table:
    """All of it, for a terminal."""
    drawn = Table("measure", "value", "unit", "runs", "target", "", box=None)
    for found in records:
        runs = " ".join(number(value) for value in found.runs[-5:])
        drawn.add_row(found.what, number(found.value), found.unit, runs, found.target, state(found))
    return drawn


def charts(records: Sequence[Record]) -> list[Chart]:
    """Bars for each unit that more than one measure has."""
    units = list(dict.fromkeys(found.unit for found in records))
    made = []
    for unit in units:
        bars = tuple(
            Bar(
                label=found.what,
                value=found.value,
                text=number(found.value) + (f" ({found.target})" if found.target else ""),
                spread=(min(found.runs[-3:]), max(found.runs[-3:])) if len(found.runs) > 1 else None,
                reached=found.reached,
            )
            for found in records
            if found.unit == unit
        )
        made.append(Chart(unit, bars))
    return made


def verdicts(records: Sequence[Record]) -> list[str]:
    """What limited each run that has a verdict."""
    return [f"{found.what}: {found.details['verdict']}" for found in records if found.details.get("verdict")]


def write(book: Book, folder: Path) -> Path:
    """Writes `report.html` and `report.png`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = charts(book.records)
    (folder / "report.png").write_bytes(plots.png(drawn))
    page = folder / "report.html"
    page.write_text(_page(book, plots.svg(drawn)), encoding="utf-8")
    return page


def _page(book: Book, picture: str) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in _cells(found)) + "</tr>" for found in book.records
    )
    said = "".join(f"<p>{html.escape(line)}</p>" for line in verdicts(book.records))
    machine = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in book.machine.items()
    )
    moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Trapstream benchmark</title>"
        "<style>body{font-family:sans-serif;max-width:1000px;margin:2em auto;color:#222}"
        "td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}</style>"
        f"<h1>Trapstream benchmark</h1><p>Commit {html.escape(str(book.machine['commit']))}, {moment}</p>"
        f"{said}{picture}"
        "<h2>Figures</h2><table><tr><th>measure<th>value<th>unit<th>runs<th>target<th></tr>"
        f"{rows}</table><h2>Machine</h2><table>{machine}</table></html>\n"
    )


def _cells(found: Record) -> list[str]:
    runs = " ".join(number(value) for value in found.runs)
    return [found.what, number(found.value), found.unit, runs, found.target, state(found)]


def add_row(page: Path, book: Book, load: float) -> None:
    """Adds a row to the table by commit of a Markdown page, which is begun where it is not there."""
    known = {found.what: found for found in book.records}
    cells = [str(book.machine["commit"]), time.strftime("%Y-%m-%d", time.gmtime())]
    cells += [number(known[what].value) if what in known else "" for what in _COLUMNS.values()]
    row = f"| {' | '.join([*cells, f'{load:g}'])} |"
    lines = page.read_text(encoding="utf-8").splitlines()
    if _SECTION not in lines:
        heads = ["commit", "date", *_COLUMNS, "load"]
        lines += ["", _SECTION, "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    at = lines.index(_SECTION) + 1
    while at < len(lines) and not lines[at].startswith("|"):
        at += 1
    while at < len(lines) and lines[at].startswith("|"):
        at += 1
    lines.insert(at, row)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
