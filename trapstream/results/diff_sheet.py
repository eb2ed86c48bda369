"""The contact sheet of a comparison: each changed image twice, as the old model and as the new one sees it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from trapstream.results.contact_sheet import lay_out, tile
from trapstream.results.diff import Change, Side
from trapstream.results.entry import Entry

MOST = 12
"""Images on a sheet."""


def draw(
    changes: Iterable[Change],
    places: Mapping[str, Path],
    before: tuple[str, Side],
    after: tuple[str, Side],
    title: str,
    target: Path,
) -> int:
    """Writes the sheet to `target` as PNG. Returns how many images it holds; 0 writes nothing.

    `before` and `after` are the two models, each with the name that stands below its pictures. `places` are the
    images' local files; one that is not there or cannot be opened is left out. OSError as the disk gives it.
    """
    tiles = []
    for found in changes:
        path = places.get(found.file)
        if path is None:
            continue
        for name, side, entry in ((*before, found.old), (*after, found.new)):
            drawn = tile(_caption(name, side, entry), side.sure(entry), path, side.names)
            if drawn is None:
                break
            tiles.append(drawn)
    if tiles:
        lay_out(tiles, title, target)
    return len(tiles) // 2


def _caption(name: str, side: Side, entry: Entry) -> str:
    """The end is what is read first: a caption that is too long is cut at its beginning."""
    best = side.best(entry)
    said = ", ".join(f"{each} {conf:.2f}" for each, conf in best.items() if conf >= side.threshold)
    return f"{entry.file}  {name}: {said or 'nothing'}"
