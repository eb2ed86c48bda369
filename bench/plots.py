"""Bars of what was measured, as SVG for a page that stands alone and as PNG. A few rectangles need no library."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from xml.sax.saxutils import quoteattr

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _LABELS, _NUMBERS, _ROW, _TITLE = 960, 430, 150, 26, 34
_TEXT, _BAR, _GOOD, _BAD, _BACK = "#222222", "#5b7f95", "#4d8a57", "#b2543c", "#ffffff"


@dataclass(frozen=True)
class Bar:
    """One row of a chart."""

    label: str
    value: float
    text: str
    """The value as people read it."""
    spread: tuple[float, float] | None = None
    """Smallest and largest run."""
    reached: bool | None = None


@dataclass(frozen=True)
class Chart:
    """Bars of one unit, on one scale from zero."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class _Shape:
    x: float
    y: float
    text: str = ""
    width: float = 0.0
    height: float = 0.0
    colour: str = _TEXT
    size: int = 13


def svg(charts: Sequence[Chart]) -> str:
    """The charts below each other, as one SVG element."""
    shapes, height = _shapes(charts)
    parts = [
        f"<rect x='{s.x:.1f}' y='{s.y:.1f}' width='{s.width:.1f}' height='{s.height:.1f}' fill={quoteattr(s.colour)}/>"
        if s.width
        else f"<text x='{s.x:.1f}' y='{s.y + s.size:.1f}' font-size='{s.size}' fill={quoteattr(s.colour)}>"
        f"{escape(s.text)}</text>"
        for s in shapes
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' width='{_WIDTH}' "
        f"font-family='sans-serif'>{''.join(parts)}</svg>"
    )


def png(charts: Sequence[Chart]) -> bytes:
    """The charts below each other, as a PNG."""
    shapes, height = _shapes(charts)
    image = Image.new("RGB", (2 * _WIDTH, 2 * height), _BACK)
    draw = ImageDraw.Draw(image)
    for s in shapes:
        if s.width:
            draw.rectangle((2 * s.x, 2 * s.y, 2 * (s.x + s.width), 2 * (s.y + s.height)), fill=s.colour)
        else:
            draw.text((2 * s.x, 2 * s.y), s.text, fill=s.colour, font=ImageFont.load_default(2 * s.size))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _shapes(charts: Sequence[Chart]) -> tuple[list[_Shape], int]:
    shapes, y = [], 10.0
    for chart in charts:
        shapes.append(_Shape(10, y, chart.title, size=16))
        y += _TITLE
        most = max((max(bar.value, *(bar.spread or (0, 0))) for bar in chart.bars), default=0.0) or 1.0
        room = _WIDTH - _LABELS - _NUMBERS
        for bar in chart.bars:
            colour = _BAR if bar.reached is None else _GOOD if bar.reached else _BAD
            shapes.append(_Shape(10, y + 3, bar.label))
            shapes.append(_Shape(_LABELS, y, width=max(1.0, room * bar.value / most), height=_ROW - 8, colour=colour))
            if bar.spread is not None:
                left, right = (_LABELS + room * each / most for each in bar.spread)
                shapes.append(_Shape(left, y + 8, width=max(1.0, right - left), height=2))
            shapes.append(_Shape(_LABELS + room * max(bar.value, *(bar.spread or (0, 0))) / most + 8, y + 3, bar.text))
            y += _ROW
        y += 14
    return shapes, round(y)
