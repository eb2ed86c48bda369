"""Birds on the ground."""

import math

from trapstream.scenes.canvas import SMOOTHING, Figure, Rng, cut, ellipse, limb, mix, pick, polygon, sheet, vary
from trapstream.scenes.plans import BROWN, DARK, GREY, RED, TAWNY, WHITE


def bird(rng: Rng, size: float) -> Figure:
    """A bird on the ground: from plump with short legs to a heron."""
    coat = vary(rng, pick(rng, (BROWN, DARK, GREY, WHITE, RED, TAWNY, (60, 74, 96))), 22)
    wing = mix(coat, (0, 0, 0) if sum(coat) > 200 else (255, 255, 255), 0.25)
    legs, neck, tail = float(rng.uniform(0.12, 0.6)), float(rng.uniform(0.15, 0.6)), float(rng.uniform(0.2, 1.0))
    plump = float(rng.uniform(0.22, 0.34))
    tilt = -float(rng.uniform(0.1, 0.5))
    y = -legs - plump * 0.8
    pen = sheet(-1.9, y - 1.3, 1.4, 0.08, SMOOTHING * size / max(1.1 + tail * 0.6, legs + plump * 2 + neck))
    shin = pick(rng, ((190, 130, 50), (70, 60, 54), (150, 120, 100)))
    for side in (-0.08, 0.08):
        foot = (side * 1.6 + float(rng.uniform(-0.05, 0.05)), -0.02)
        limb(pen, [(side, -legs - 0.05), foot], [0.05, 0.035], shin)
        limb(pen, [(foot[0] - 0.04, -0.02), (foot[0] + 0.11, -0.02)], [0.03, 0.03], shin)
    drop = math.sin(tilt) * -0.45
    feathers = [(-0.3, y + drop * 0.5), (-0.45 - tail * 0.4, y + drop), (-0.45 - tail * 0.8, y + drop * 1.5)]
    limb(pen, feathers, [plump * 0.9, 0.16, 0.06], wing)
    ellipse(pen, 0, y, 0.5, plump, coat, tilt)
    head = (0.42 + neck * 0.3, y - 0.12 - neck * 0.9)
    limb(pen, [(0.3, y - 0.08), (0.44, y - 0.05 - neck * 0.4), head], [plump * 1.2, 0.2, 0.16], coat)
    ellipse(pen, -0.1, y + 0.02, 0.42, plump * 0.6, wing, tilt)
    cap = pick(rng, (coat, (170, 40, 34), (40, 90, 70), WHITE))
    ellipse(pen, head[0], head[1], 0.13, 0.12, cap)
    beak = float(rng.uniform(0.12, 0.3))
    tip = (head[0] + 0.1 + beak, head[1] + 0.03)
    polygon(pen, [(head[0] + 0.09, head[1] - 0.05), tip, (head[0] + 0.08, head[1] + 0.06)], shin)
    eye = (head[0] + 0.05, head[1] - 0.02, 0.025)
    ellipse(pen, *eye[:2], 0.025, 0.025, (16, 14, 12))
    return cut(pen, rng, [eye], rng.random() < 0.5)
