"""Animals seen by a camera trap: quadrupeds of many proportions, from the side or the front."""

import math

import numpy as np
from PIL import Image, ImageDraw

from trapstream.scenes.birds import bird
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
    smooth,
    vary,
)
from trapstream.scenes.plans import BLACK, DARK, GREY, PLANS, WHITE, Quadruped


def animal(rng: Rng, size: float) -> Figure:
    """An animal whose longer side is about `size` pixels."""
    kind = rng.random()
    if kind < 0.16:
        return bird(rng, size)
    name = list(PLANS)[int(rng.integers(len(PLANS)))]
    plan = PLANS[name]
    if kind < 0.28 and name not in ("mouse", "fox"):
        return facing(rng, plan, size)
    return sideways(rng, plan, size)


def sideways(rng: Rng, plan: Quadruped, size: float) -> Figure:
    """A quadruped from the side, or at an angle to the camera; it looks right before it is mirrored."""
    coat = vary(rng, pick(rng, plan.coats), 20)
    far = mix(coat, (0, 0, 0), 0.35)
    stretch = float(rng.uniform(0.62, 1.0)) if rng.random() < 0.4 else float(rng.uniform(0.92, 1.08))
    back = plan.legs + plan.depth
    grazing = rng.random() < 0.3
    angle = -float(rng.uniform(0.5, 0.9)) if grazing else plan.neck_angle + float(rng.uniform(-0.3, 0.25))
    pen = sheet(-1.9, -back - 1.2, 1.9, 0.14, SMOOTHING * size / (1.25 + plan.neck * 0.6 + plan.tail * 0.5))
    walk = float(rng.uniform(0, 2 * math.pi)) if rng.random() < 0.7 else 0.0
    hip, shoulder = (-0.42 * stretch, -back + plan.depth * 0.5), (0.42 * stretch, -back + plan.depth * 0.55)
    _legs(pen, plan, (hip, shoulder), walk + math.pi, far)
    _tail(pen, plan, rng, stretch, back, mix(coat, (0, 0, 0), 0.12))
    body = [
        (-0.58 * stretch, -back + plan.depth * 0.32),
        (-0.42 * stretch, -back),
        (0.0, -back + 0.03 - plan.hump),
        (0.42 * stretch, -back - 0.03 - plan.hump * 0.6),
        (0.58 * stretch, -back + plan.depth * 0.4),
        (0.4 * stretch, -back + plan.depth * 0.98),
        (-0.05 * stretch, -back + plan.depth),
        (-0.44 * stretch, -back + plan.depth * 0.86),
    ]
    neck_from = (0.42 * stretch, -back + plan.depth * 0.3)
    reach = plan.neck + (plan.legs * 0.45 if grazing else 0.0)
    head = (
        neck_from[0] + math.cos(angle) * reach + 0.06,
        min(neck_from[1] - math.sin(angle) * reach, -plan.head * 0.7),
    )
    polygon(pen, smooth(body), coat)
    limb(pen, [neck_from, head], [plan.neck_width * 1.5, plan.neck_width], coat)
    eye = _head(pen, plan, rng, head, grazing, coat)
    _coat(pen, plan, rng, coat)
    _legs(pen, plan, (hip, shoulder), walk, mix(coat, (0, 0, 0), 0.1))
    if plan.pattern == "quills":
        for _ in range(60):
            x = float(rng.uniform(-0.6, 0.35)) * stretch
            length = float(rng.uniform(0.15, 0.34))
            tone = pick(rng, (WHITE, BLACK, GREY))
            limb(pen, [(x, -back + 0.1), (x - length, -back - length * 0.55 + 0.08)], [0.03, 0.01], tone)
    dot = plan.head * 0.09
    ellipse(pen, eye[0], eye[1], dot, dot, (18, 14, 12))
    return cut(pen, rng, [(*eye, dot)], rng.random() < 0.5)


def _legs(pen: Pen, plan: Quadruped, tops: tuple[Point, Point], phase: float, colour: Colour) -> None:
    swing = plan.legs * 0.34
    for index, (x, y) in enumerate(tops):
        step = math.sin(phase + index * 1.9) * swing if phase else (index - 0.5) * 0.05
        knee = (x + step * 0.35 + (0.05 if index else -0.03), -plan.legs * 0.5)
        foot = (x + step, -plan.leg_width * 0.25)
        wide = plan.leg_width
        limb(pen, [(x, y), knee, foot], [wide * 2.0, wide * 0.95, wide * 0.7], colour)
        limb(pen, [foot, (foot[0] + wide * 0.5, foot[1])], [wide * 0.7, wide * 0.5], mix(colour, (0, 0, 0), 0.4))


def _tail(pen: Pen, plan: Quadruped, rng: Rng, stretch: float, back: float, colour: Colour) -> None:
    lift = plan.tail_angle + float(rng.uniform(-0.5, 0.3))
    x, y = -0.54 * stretch, -back + plan.depth * 0.2
    points, widths = [(x, y)], [plan.tail_width * 0.8]
    for step in range(1, 5):
        turn = lift + (step - 2) * -0.18
        x, y = x - math.cos(turn) * plan.tail / 4, min(-0.03, y + math.sin(turn) * plan.tail / 4)
        points.append((x, y))
        widths.append(plan.tail_width * (1.15, 1.2, 1.0, 0.5)[step - 1])
    limb(pen, points, widths, colour)


def _head(pen: Pen, plan: Quadruped, rng: Rng, head: Point, grazing: bool, coat: Colour) -> Point:
    """Draws the head at `head` and returns where its eye is."""
    down = float(rng.uniform(0.9, 1.2)) if grazing else float(rng.uniform(0.1, 0.5))
    cos, sin = math.cos(down), math.sin(down)
    radius = plan.head * 0.62
    x, y = head
    dark = mix(coat, (0, 0, 0), 0.3)
    nose = (x + cos * plan.muzzle, min(y + sin * plan.muzzle, -0.03))
    if plan.ears == "fan":
        trunk = [(x + 0.12, y + 0.05), (x + 0.26, y + 0.35), (x + 0.24, y + 0.68), (x + 0.34, y + 0.8)]
        limb(pen, trunk, [0.2, 0.14, 0.1, 0.07], coat)
        limb(pen, [(x + 0.14, y + 0.16), (x + 0.36, y + 0.3)], [0.06, 0.03], WHITE)
    up = (sin, -cos)
    crown = (x + up[0] * radius * 0.6 - cos * radius * 0.3, y + up[1] * radius * 0.6 - sin * radius * 0.3)
    for side in (-0.5, 0.55):
        ex, ey = crown[0] + side * cos * radius * 0.7, crown[1] + side * sin * radius * 0.7
        tip = (ex + up[0] * plan.ear - cos * plan.ear * 0.25, ey + up[1] * plan.ear - sin * plan.ear * 0.25)
        tone = dark if side > 0 else mix(coat, (0, 0, 0), 0.15)
        if plan.ears == "point":
            across = (cos * plan.ear * 0.3, sin * plan.ear * 0.3)
            polygon(pen, [(ex - across[0], ey - across[1]), tip, (ex + across[0], ey + across[1])], tone)
        elif plan.ears == "round":
            ellipse(pen, (ex + tip[0]) / 2, (ey + tip[1]) / 2, plan.ear * 0.5, plan.ear * 0.5, tone)
        elif plan.ears == "long":
            limb(pen, [(ex, ey), tip], [0.1, 0.06], tone)
    if plan.horns != "none" and rng.random() < 0.55:
        _horns(pen, plan.horns, crown, plan.head)
    ellipse(pen, x, y, radius, radius * 0.86, coat, down)
    limb(pen, [(x + cos * radius * 0.3, y + sin * radius * 0.3), nose], [radius * 1.3, radius * 0.72], coat)
    ellipse(pen, nose[0], nose[1], radius * 0.3, radius * 0.3, dark)
    if plan.ears == "fan":
        ellipse(pen, x - 0.12, y + 0.06, plan.ear * 0.5, plan.ear * 0.8, mix(coat, (0, 0, 0), 0.16))
    return x + cos * radius * 0.35 + up[0] * radius * 0.3, y + sin * radius * 0.35 + up[1] * radius * 0.3


def _horns(pen: Pen, kind: str, crown: Point, head: float) -> None:
    x, y = crown
    bone = (206, 190, 160)
    if kind == "antlers":
        for lean in (-0.22, 0.12):
            beam = [(x, y), (x + lean * 0.6, y - 0.22), (x + lean, y - 0.46)]
            limb(pen, beam, [0.05, 0.04, 0.02], bone)
            limb(pen, [beam[1], (x + lean * 0.6 + 0.16, y - 0.34)], [0.035, 0.015], bone)
            limb(pen, [(x + lean * 0.8, y - 0.34), (x + lean * 0.8 - 0.12, y - 0.46)], [0.03, 0.015], bone)
    elif kind == "straight":
        limb(pen, [(x, y), (x - 0.12, y - 0.42)], [0.05, 0.015], DARK)
        limb(pen, [(x + 0.05, y), (x - 0.04, y - 0.44)], [0.05, 0.015], DARK)
    else:
        limb(pen, [(x, y), (x + 0.1, y - 0.1), (x + 0.08, y - head)], [0.07, 0.05, 0.02], bone)


def _coat(pen: Pen, plan: Quadruped, rng: Rng, coat: Colour) -> None:
    """Lays the coat's marks over what is drawn so far, and nowhere else."""
    if plan.pattern in ("plain", "quills") or (plan.pattern in ("patch", "spots") and rng.random() < 0.35):
        return
    marks = Image.new("L", pen.image.size, 0)
    draw = ImageDraw.Draw(marks)
    unit, (ox, oy) = pen.scale, pen.origin
    if plan.pattern == "stripes":
        for x in np.arange(-0.7, 1.3, float(rng.uniform(0.09, 0.13))):
            lean = (x - 0.1) * 0.25
            points = [
                (ox + (x + lean * k + 0.02 * math.sin(9 * k)) * unit, oy - (0.2 + k * 1.8) * unit)
                for k in (0, 0.25, 0.5, 0.75, 1)
            ]
            draw.line(points, fill=255, width=max(1, round(0.045 * unit)))
    else:
        count, low, high = (90, 0.018, 0.035) if plan.pattern == "spots" else (6, 0.12, 0.24)
        for _ in range(count):
            x, y = ox + float(rng.uniform(-0.6, 0.75)) * unit, oy - float(rng.uniform(0.1, 1.2)) * unit
            r = float(rng.uniform(low, high)) * unit
            draw.ellipse([x - r, y - r * 0.8, x + r, y + r * 0.8], fill=255)
    tone = BLACK if plan.pattern == "stripes" else mix(coat, WHITE if sum(coat) < 240 else (24, 18, 14), 0.75)
    alpha = pen.image.getchannel("A")
    pen.image.paste((*tone, 255), mask=Image.composite(marks, Image.new("L", marks.size, 0), alpha))


def facing(rng: Rng, plan: Quadruped, size: float) -> Figure:
    """A quadruped that looks at the camera (or walks away from it)."""
    coat = vary(rng, pick(rng, plan.coats), 20)
    back = plan.legs + plan.depth
    wide = plan.depth * float(rng.uniform(0.42, 0.55))
    pen = sheet(-1.1, -back - 1.2, 1.1, 0.1, SMOOTHING * size / (back + plan.neck * 0.5 + plan.ear * 0.5))
    for side in (-0.55, 0.55):
        leg = [(side * wide * 0.8, -plan.legs), (side * wide * 0.9, -0.05)]
        limb(pen, leg, [plan.leg_width * 1.3, plan.leg_width], mix(coat, (0, 0, 0), 0.45))
    ellipse(pen, 0, -back + plan.depth * 0.5, wide, plan.depth * 0.55, mix(coat, (0, 0, 0), 0.1))
    for side in (-1, 1):
        foot = (side * wide * 0.66 + float(rng.uniform(-0.05, 0.05)), -0.03)
        shoulder = (side * wide * 0.62, -plan.legs - plan.depth * 0.4)
        limb(pen, [shoulder, foot], [plan.leg_width * 1.7, plan.leg_width * 0.85], coat)
    _coat(pen, plan, rng, coat)
    away = rng.random() < 0.25
    x = float(rng.uniform(-0.15, 0.15))
    y = -back + plan.depth * 0.25 - math.sin(max(plan.neck_angle, 0.1)) * plan.neck * float(rng.uniform(0.4, 1.0))
    radius = plan.head * 0.62
    if away:
        root = -back + plan.depth * 0.3
        tail = [(0, root), (0.04, root + min(plan.tail, plan.legs))]
        limb(pen, tail, [plan.tail_width, plan.tail_width * 0.6], mix(coat, (0, 0, 0), 0.3))
        return cut(pen, rng, [], False)
    limb(pen, [(0, -back + plan.depth * 0.4), (x, y)], [plan.neck_width * 1.3, plan.neck_width], coat)
    for side in (-1, 1):
        spread = 1.6 if plan.ears == "fan" else (0.5 if plan.ears == "long" else 1.0)
        tip = (
            x + side * (radius * 0.6 + plan.ear * 0.5 * spread),
            y - radius * 0.5 - plan.ear * (0.1 if plan.ears == "fan" else 0.8),
        )
        widths = [plan.ear * 0.55, plan.ear * (0.8 if plan.ears == "fan" else 0.2)]
        limb(pen, [(x + side * radius * 0.55, y - radius * 0.5), tip], widths, mix(coat, (0, 0, 0), 0.2))
        if plan.horns != "none":
            horn = [(x + side * radius * 0.3, y - radius * 0.7), (x + side * radius * 1.1, y - radius * 2.4)]
            limb(pen, horn, [0.05, 0.015], (206, 190, 160))
    ellipse(pen, x, y, radius * 0.86, radius, coat)
    ellipse(pen, x, y + radius * 0.75, radius * 0.5, radius * 0.55, mix(coat, (255, 240, 220), 0.15))
    ellipse(pen, x, y + radius * 1.0, radius * 0.22, radius * 0.16, (28, 22, 20))
    dot = radius * 0.14
    eyes = [(x + side * radius * 0.45, y - radius * 0.1, dot) for side in (-1, 1)]
    for ex, ey, _ in eyes:
        ellipse(pen, ex, ey, dot, dot, (18, 14, 12))
    return cut(pen, rng, eyes, rng.random() < 0.5)
