"""Progress on standard error: a bar on a terminal, plain lines otherwise."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_LINE_SECONDS = 5.0


class Report(Protocol):
    """Takes note of how far a piece of work is."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """`total` is None while it is not known; `note` follows the figures."""


@contextlib.contextmanager
def progress(what: str, unit: str = "images") -> Iterator[Report]:
    """A report for one piece of work, drawn until the block ends."""
    if sys.stderr.isatty():
        with _bar(what, unit) as report:
            yield report
    else:
        with _lines(what, unit) as report:
            yield report


@contextlib.contextmanager
def _bar(what: str, unit: str) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as drawn:
        task = drawn.add_task(what, total=None, count="", note="")

        def report(done: int, total: int | None, note: str = "") -> None:
            drawn.update(task, completed=done, total=total, count=_count(done, total, unit), note=note)

        yield report


@contextlib.contextmanager
def _lines(what: str, unit: str) -> Iterator[Report]:
    last, written = "", 0.0

    def write(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def report(done: int, total: int | None, note: str = "") -> None:
        nonlocal last, written
        last = f"{what}: {_count(done, total, unit)}" + (f", {note}" if note else "")
        if time.monotonic() - written >= _LINE_SECONDS:
            written = time.monotonic()
            write(last)
            last = ""

    yield report
    if last:
        write(last)


def _count(done: int, total: int | None, unit: str) -> str:
    return f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
