"""Contact sheets, for people who would rather look: one PNG with a job's surest detections, or with what changed.

The sheet of a comparison has each changed image twice, as the old model and as the new one sees it.
"""

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from trapstream.results.diff import Change, Side
from trapstream.results.entry import Detection, Entry

COLUMNS, ROWS = 4, 3
TILE = (480, 360)
"""Width and height of a picture in pixels."""
CAPTION = 26
"""Height of the line below it."""
MARGIN = 10
_COLOURS = {"animal": "#ffb000", "person": "#3ec1ff", "vehicle": "#ff5ea8"}
MOST_CHANGES = 12
"""Images on the sheet of a comparison."""
_MOST_PIXELS = 200_000_000
_BACKGROUND, _INK, _FAINT = "#14181c", "#f2f2ee", "#9aa3a8"


@dataclass(frozen=True)
class Pick:
    """One picture of the sheet."""

    file: str
    detections: tuple[Detection, ...]
    """Those at or above the threshold."""


def pick(entries: Iterable[Entry], threshold: float, most: int = COLUMNS * ROWS) -> list[Pick]:
    """The surest images, turn by turn from each category, so that a common one does not fill the sheet.

    Streams: keeps `most` images of each category, whatever the length of `entries`.
    """
    best: dict[str, list[tuple[float, int, Pick]]] = {}
    for number, entry in enumerate(entries):
        sure = tuple(found for found in entry.detections or () if found.conf >= threshold)
        if not sure:
            continue
        top = max(sure, key=lambda found: found.conf)
        heap = best.setdefault(top.category, [])
        heapq.heappush(heap, (top.conf, -number, Pick(entry.file, sure)))
        if len(heap) > most:
            heapq.heappop(heap)
    queues = [sorted(best[category], reverse=True) for category in sorted(best)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    return [found[2] for found in turns if found is not None][:most]


def draw(picks: Iterable[tuple[Pick, Path]], names: Mapping[str, str], title: str, target: Path) -> int:
    """Writes the sheet to `target`. Returns how many pictures it holds; 0 writes nothing.

    `names` are the result file's detection categories. A picture that cannot be opened is left out.
    """
    drawn = (_tile(chosen.file, chosen.detections, path, names) for chosen, path in picks)
    tiles = [each for each in drawn if each is not None]
    if tiles:
        _lay_out(tiles, title, target)
    return len(tiles)


def draw_changes(
    changes: Iterable[Change],
    paths: Mapping[str, Path],
    before: tuple[str, Side],
    after: tuple[str, Side],
    title: str,
    target: Path,
) -> int:
    """Writes the sheet to `target` as PNG. Returns how many images it holds; 0 writes nothing.

    `before` and `after` are the two models, each with the name that stands below its pictures. `paths` are the
    images' local files; one that is not there or cannot be opened is left out. OSError as the disk gives it.
    """
    tiles = []
    for found in changes:
        path = paths.get(found.file)
        if path is None:
            continue
        for name, side, entry in ((*before, found.old), (*after, found.new)):
            drawn = _tile(_caption(name, side, entry), side.sure(entry), path, side.names)
            if drawn is None:
                break
            tiles.append(drawn)
    if tiles:
        _lay_out(tiles, title, target)
    return len(tiles) // 2


def _caption(name: str, side: Side, entry: Entry) -> str:
    """The end is what is read first: a caption that is too long is cut at its beginning."""
    best = side.best(entry)
    said = ", ".join(f"{each} {conf:.2f}" for each, conf in best.items() if conf >= side.threshold)
    return f"{entry.file}  {name}: {said or 'nothing'}"


def _lay_out(tiles: Sequence[Image.Image], title: str, target: Path) -> None:
    """Writes one PNG with at least one picture, row by row below a title. OSError as the disk gives it."""
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = TILE[0] + MARGIN, TILE[1] + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN + 44), _BACKGROUND)
    ImageDraw.Draw(sheet).text((MARGIN, 12), title, fill=_INK, font=ImageFont.load_default(20))
    for number, each in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(each, (MARGIN + column * width, 44 + MARGIN + row * height))
    sheet.save(target, "PNG")


def _tile(caption: str, detections: Iterable[Detection], path: Path, names: Mapping[str, str]) -> Image.Image | None:
    """One picture of TILE pixels with its boxes and a line below it; None if it cannot be opened."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            opened.draft("RGB", TILE)
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # the sheet shows what opens; what did not is named in the summary already
    picture = ImageOps.contain(picture, TILE)
    made = Image.new("RGB", (TILE[0], TILE[1] + CAPTION), _BACKGROUND)
    left, top = (TILE[0] - picture.width) // 2, (TILE[1] - picture.height) // 2
    made.paste(picture, (left, top))
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(14)
    for found in detections:
        _box(pen, found, names, (left, top, picture.width, picture.height))
    # The built-in font has no other letters, and a caption is one line.
    caption = "".join(letter if " " <= letter <= "~" else "?" for letter in caption)
    while caption and pen.textlength(caption, font) > TILE[0]:
        caption = "..." + caption[4:]
    pen.text((0, TILE[1] + 5), caption, fill=_FAINT, font=font)
    return made


def _box(
    pen: ImageDraw.ImageDraw, found: Detection, names: Mapping[str, str], frame: tuple[int, int, int, int]
) -> None:
    left, top, width, height = frame
    x, y, w, h = found.bbox
    name = names.get(found.category, found.category)
    colour = _COLOURS.get(name, "#b6e36b")
    corners = (left + x * width, top + y * height, left + (x + w) * width, top + (y + h) * height)
    pen.rectangle(corners, outline=colour, width=3)
    font, label = ImageFont.load_default(14), f"{name} {found.conf:.2f}"
    text_left = min(corners[0], left + width - pen.textlength(label, font) - 8)
    text_top = max(corners[1] - 19, top)
    pen.rectangle((text_left, text_top, text_left + pen.textlength(label, font) + 7, text_top + 18), fill=colour)
    pen.text((text_left + 4, text_top + 1), label, fill="#101010", font=font)
