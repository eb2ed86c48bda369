"""A contact sheet: one PNG with the job's surest detections and their boxes, for people who would rather look."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from trapstream.results.entry import Box, Entry

COLUMNS, ROWS = 4, 3
TILE = (480, 360)
"""Width and height of a picture in pixels."""
CAPTION = 26
"""Height of the line below it."""
MARGIN = 10
_COLOURS = {"animal": "#ffb000", "person": "#3ec1ff", "vehicle": "#ff5ea8"}
_MOST_PIXELS = 200_000_000
_BACKGROUND, _INK, _FAINT = "#14181c", "#f2f2ee", "#9aa3a8"


@dataclass(frozen=True)
class Pick:
    """One picture of the sheet."""

    file: str
    detections: tuple[Box, ...]
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
    return [chosen for _, _, chosen in _turns(queues)][:most]


def draw(picks: Iterable[tuple[Pick, Path]], names: Mapping[str, str], title: str, target: Path) -> int:
    """Writes the sheet to `target`. Returns how many pictures it holds; 0 writes nothing.

    `names` are the result file's detection categories. A picture that cannot be opened is left out.
    """
    drawn = (tile(chosen.file, chosen.detections, path, names) for chosen, path in picks)
    tiles = [each for each in drawn if each is not None]
    if tiles:
        lay_out(tiles, title, target)
    return len(tiles)


def lay_out(tiles: Sequence[Image.Image], title: str, target: Path) -> None:
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


def _turns(queues: list[list[tuple[float, int, Pick]]]) -> Iterator[tuple[float, int, Pick]]:
    while any(queues):
        for queue in queues:
            if queue:
                yield queue.pop(0)


def tile(caption: str, detections: Iterable[Box], path: Path, names: Mapping[str, str]) -> Image.Image | None:
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


def _box(pen: ImageDraw.ImageDraw, found: Box, names: Mapping[str, str], place: tuple[int, int, int, int]) -> None:
    left, top, width, height = place
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
