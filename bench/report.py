"""The report of a benchmark: a table with bars on the terminal, and the same as a page that stands alone."""

import io
import time
from collections.abc import Sequence
from pathlib import Path

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from bench.records import Book, Record

_WIDTH = 170
"""Columns of text. Where the terminal has fewer, it wraps."""
_BAR = 20
_COLOURS = {None: "blue", True: "green", False: "red"}
"""Of a bar: without a target, reached, not reached."""


def number(value: float) -> str:
    """A figure with the digits that it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def state(found: Record) -> str:
    """Whether runs differ, and whether the target is reached."""
    remarks = [] if found.stable else ["runs differ"]
    if found.reached is not None:
        remarks.append("reached" if found.reached else "not reached")
    return ", ".join(remarks)


def table(records: Sequence[Record]) -> Table:
    """All figures, each with a bar; the bars of one unit are on one scale from zero."""
    drawn = Table("measure", "", "value", "unit", "runs", "target", "", box=None)
    for found in records:
        largest = max(each.value for each in records if each.unit == found.unit) or 1.0
        bar = Bar(largest, 0, found.value, width=_BAR, color=_COLOURS[found.reached])
        runs = " ".join(number(value) for value in found.runs[-5:])
        drawn.add_row(found.what, bar, number(found.value), found.unit, runs, found.target, state(found))
    return drawn


def show(book: Book, console: Console | None = None) -> None:
    """Prints the table, and what limited each run that has a verdict: to standard output, or to `console`."""
    console = console or Console(width=_WIDTH, markup=False, highlight=False)
    console.print(table(book.records))
    for found in book.records:
        if verdict := found.details.get("verdict"):
            console.print(f"{found.what}: {verdict}", soft_wrap=True)


def write(book: Book, folder: Path) -> Path:
    """Writes `report.html`: what `show` prints, and the machine. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=_WIDTH, markup=False, highlight=False, record=True, file=io.StringIO())
    moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    console.print(f"Trapstream benchmark, commit {book.machine['commit']}, {moment}\n", style="bold")
    show(book, console)
    machine = Table("machine", "", box=None)
    for name, value in book.machine.items():
        machine.add_row(name, str(value))
    console.print("\n", machine)
    page = folder / "report.html"
    console.save_html(str(page))
    return page
