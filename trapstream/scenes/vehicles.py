"""Vehicles on forest tracks: cars, vans, pick-ups and lorries from the side, the front and the back."""

import math

from trapstream.scenes.canvas import (
    SMOOTHING,
    Colour,
    Figure,
    Pen,
    Point,
    Rng,
    cut,
    ellipse,
    limb,
    mix,
    pick,
    polygon,
    sheet,
    vary,
)

PAINT: tuple[Colour, ...] = (
    (186, 40, 36),
    (40, 70, 130),
    (228, 228, 224),
    (150, 154, 158),
    (40, 42, 46),
    (64, 92, 62),
    (206, 160, 50),
    (110, 84, 60),
    (120, 150, 170),
    (196, 184, 150),
    (90, 30, 40),
)
GLASS, RUBBER, STEEL, CHROME = (64, 84, 98), (30, 30, 32), (120, 122, 126), (190, 194, 198)


def vehicle(rng: Rng, size: float) -> Figure:
    """A vehicle whose longer side is about `size` pixels."""
    paint = vary(rng, pick(rng, PAINT), 14)
    kind = rng.random()
    if kind < 0.3:
        return _end(rng, size, paint)
    if kind < 0.5:
        return _lorry(rng, size, paint)
    return _side(rng, size, paint, ("hatch", "estate", "van", "pickup")[int(rng.integers(4))])


def _wheel(pen: Pen, x: float, radius: float) -> None:
    ellipse(pen, x, -radius, radius * 1.16, radius * 1.12, (22, 22, 24))
    ellipse(pen, x, -radius, radius, radius, RUBBER)
    ellipse(pen, x, -radius, radius * 0.6, radius * 0.6, CHROME)
    for spoke in range(5):
        turn = spoke * 2 * math.pi / 5
        end = (x + math.cos(turn) * radius * 0.5, -radius + math.sin(turn) * radius * 0.5)
        limb(pen, [(x, -radius), end], [radius * 0.14, radius * 0.14], STEEL)
    ellipse(pen, x, -radius, radius * 0.16, radius * 0.16, RUBBER)


def _window(pen: Pen, points: list[Point]) -> None:
    polygon(pen, points, GLASS)
    (ax, ay), (bx, by) = points[0], points[1]
    cx, cy = points[2]
    shine = [(ax, ay), ((ax + bx) / 2, (ay + by) / 2), ((ax + cx) / 2, (ay + cy) / 2)]
    polygon(pen, shine, mix(GLASS, (220, 232, 240), 0.35))


def _mirrored(points: list[Point]) -> list[Point]:
    """The other side of an outline, in the order that goes on from it."""
    return [(-x, y) for x, y in reversed(points)]


def _side(rng: Rng, size: float, paint: Colour, kind: str) -> Figure:
    """A car that drives to the right; its length is 1 unit."""
    pen = sheet(-0.6, -0.62, 0.6, 0.03, SMOOTHING * size)
    radius = float(rng.uniform(0.07, 0.095))
    clear = radius * float(rng.uniform(0.7, 1.15))
    belt, roof = -clear - float(rng.uniform(0.15, 0.19)), -clear - float(rng.uniform(0.29, 0.34))
    if kind == "van":
        roof -= 0.1
    dark = mix(paint, (0, 0, 0), 0.4)
    rear = {"hatch": -0.44, "estate": -0.48, "van": -0.49, "pickup": -0.12}[kind]
    slope = 0.03 if kind in ("van", "estate") else 0.09
    front = 0.3 if kind == "van" else 0.2
    body = [
        (-0.5, belt + 0.01),
        (-0.49, -clear),
        (0.49, -clear),
        (0.5, belt + 0.09),
        (0.47, belt + 0.04),
        (front, belt),
        (-0.46, belt),
    ]
    cabin = [
        (rear, belt + 0.01),
        (rear + slope, roof + 0.01),
        (rear + slope + 0.05, roof),
        (front - 0.14, roof),
        (front - 0.08, roof + 0.02),
        (front + 0.02, belt + 0.01),
    ]
    polygon(pen, body, paint)
    polygon(pen, cabin, paint)
    inset = 0.022
    panes = {"hatch": 2, "estate": 3, "van": 1, "pickup": 1}[kind]
    left = rear + slope * 0.7 + inset if kind != "van" else front - 0.2
    right = front - 0.045
    for index in range(panes):
        x0 = left + (right - left) * index / panes
        x1 = left + (right - left) * (index + 1) / panes - 0.016
        lift0 = slope * 0.35 if index == 0 and kind != "van" else 0.0
        lift1 = 0.055 if index == panes - 1 else 0.0
        _window(pen, [(x0 + lift0, roof + inset), (x1 - lift1, roof + inset), (x1, belt - 0.008), (x0, belt - 0.008)])
    for x in (rear + slope + 0.14, front - 0.1):
        limb(pen, [(x, belt + 0.01), (x, -clear - 0.015)], [0.004, 0.004], dark)
        limb(pen, [(x - 0.05, belt + 0.035), (x - 0.025, belt + 0.035)], [0.01, 0.01], dark)
    limb(pen, [(-0.49, -clear), (0.49, -clear)], [0.03, 0.03], mix(dark, (20, 20, 20), 0.5))
    front_lamp = [(0.455, belt + 0.05), (0.495, belt + 0.07), (0.495, belt + 0.1), (0.44, belt + 0.09)]
    polygon(pen, front_lamp, (244, 238, 214))
    rear_lamp = [(-0.5, belt + 0.03), (-0.475, belt + 0.03), (-0.475, belt + 0.09), (-0.497, belt + 0.09)]
    polygon(pen, rear_lamp, (190, 36, 30))
    if rng.random() < 0.3:
        limb(pen, [(rear + slope + 0.06, roof - 0.02), (front - 0.17, roof - 0.02)], [0.012, 0.012], RUBBER)
    for x in (-0.31, 0.31):
        _wheel(pen, x, radius)
    return cut(pen, rng, [(0.49, belt + 0.08, 0.018)], rng.random() < 0.5, 0.08)


def _lorry(rng: Rng, size: float, paint: Colour) -> Figure:
    """A lorry with a box, a tarpaulin or an open bed of timber."""
    pen = sheet(-0.6, -0.7, 0.6, 0.03, SMOOTHING * size)
    radius = float(rng.uniform(0.05, 0.068))
    clear, high = radius * 1.3, float(rng.uniform(0.3, 0.44))
    limb(pen, [(-0.49, -clear), (0.46, -clear)], [0.035, 0.035], (44, 44, 48))
    load = vary(rng, pick(rng, PAINT), 14)
    kind = rng.random()
    if kind < 0.65:
        polygon(pen, [(-0.5, -clear - 0.02), (-0.5, -clear - high), (0.2, -clear - high), (0.2, -clear - 0.02)], load)
        for x in (-0.36, -0.22, -0.08, 0.06):
            limb(pen, [(x, -clear - 0.02), (x, -clear - high)], [0.006, 0.006], mix(load, (0, 0, 0), 0.2))
    else:
        for row in range(3):
            for column in range(6 - row):
                x, y = -0.43 + row * 0.055 + column * 0.11, -clear - 0.075 - row * 0.09
                ellipse(pen, x, y, 0.054, 0.05, vary(rng, (150, 112, 72), 20))
        for x in (-0.49, -0.15, 0.19):
            limb(pen, [(x, -clear), (x, -clear - 0.28)], [0.018, 0.014], STEEL)
    top = -clear - float(rng.uniform(0.28, 0.34))
    bonnet = [(0.46, top + 0.15), (0.49, -clear - 0.1), (0.49, -clear + 0.01)]
    polygon(pen, [(0.22, -clear + 0.01), (0.22, top), (0.4, top), *bonnet], paint)
    _window(pen, [(0.29, top + 0.025), (0.385, top + 0.025), (0.435, top + 0.145), (0.29, top + 0.145)])
    limb(pen, [(0.275, top + 0.02), (0.275, -clear - 0.02)], [0.005, 0.005], mix(paint, (0, 0, 0), 0.4))
    lamp = [(0.455, -clear - 0.07), (0.492, -clear - 0.07), (0.492, -clear - 0.035), (0.45, -clear - 0.035)]
    polygon(pen, lamp, (244, 238, 214))
    for x in (-0.38, -0.25, 0.33):
        _wheel(pen, x, radius)
    return cut(pen, rng, [(0.48, -clear - 0.05, 0.016)], rng.random() < 0.5, 0.08)


def _end(rng: Rng, size: float, paint: Colour) -> Figure:
    """The front or the back of a car; its height is about 0.9 of its width."""
    pen = sheet(-0.65, -1.1, 0.65, 0.03, SMOOTHING * size)
    tall = float(rng.uniform(0.78, 1.05))
    dark = mix(paint, (0, 0, 0), 0.4)
    belt, roof = -tall * 0.6, -tall
    for side in (-1, 1):
        polygon(pen, [(side * 0.47, -0.28), (side * 0.3, -0.28), (side * 0.3, 0.0), (side * 0.46, 0.0)], RUBBER)
        limb(pen, [(side * 0.4, belt + 0.03), (side * 0.5, belt - 0.02)], [0.05, 0.07], dark)
    left = [(-0.42, belt + 0.02), (-0.33, roof + 0.03), (-0.28, roof)]
    polygon(pen, [*left, *_mirrored(left)], paint)
    _window(pen, [(-0.29, roof + 0.05), (0.29, roof + 0.05), (0.375, belt - 0.01), (-0.375, belt - 0.01)])
    right = [(0.42, belt), (0.5, belt + 0.14), (0.5, -0.15), (0.46, -0.12)]
    polygon(pen, [*right, *_mirrored(right)], paint)
    back = rng.random() < 0.4
    lamp = (190, 36, 30) if back else (246, 240, 218)
    eyes = []
    for side in (-1, 1):
        x, y = side * 0.4, belt + 0.17
        if back:
            polygon(pen, [(x - 0.05, y - 0.09), (x + 0.05, y - 0.09), (x + 0.05, y + 0.07), (x - 0.05, y + 0.07)], lamp)
        else:
            ellipse(pen, x, y, 0.085, 0.055, CHROME)
            ellipse(pen, x, y, 0.065, 0.042, lamp)
            eyes.append((x, y, 0.04))
    if back:
        limb(pen, [(-0.3, belt + 0.09), (0.3, belt + 0.09)], [0.01, 0.01], dark)
    else:
        for row in range(3):
            y = belt + 0.12 + row * 0.045
            limb(pen, [(-0.24, y), (0.24, y)], [0.022, 0.022], (36, 36, 40))
    limb(pen, [(-0.47, -0.19), (0.47, -0.19)], [0.075, 0.075], mix(dark, (30, 30, 32), 0.6))
    polygon(pen, [(-0.13, -0.26), (0.13, -0.26), (0.13, -0.2), (-0.13, -0.2)], (226, 224, 206))
    return cut(pen, rng, eyes, False, 0.08)
