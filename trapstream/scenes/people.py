"""People as a camera trap sees them: walking past, standing, stooping, with and without a pack."""

import math

from trapstream.scenes.canvas import (
    SMOOTHING,
    Colour,
    Figure,
    Pen,
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

SKIN: tuple[Colour, ...] = ((236, 196, 164), (208, 160, 122), (150, 104, 72), (98, 66, 46))
CLOTHES: tuple[Colour, ...] = (
    (176, 48, 44),
    (44, 74, 132),
    (60, 92, 54),
    (216, 128, 36),
    (40, 42, 48),
    (120, 104, 76),
    (208, 204, 196),
    (88, 112, 140),
    (130, 60, 110),
    (226, 196, 60),
    (84, 80, 60),
)
TROUSERS: tuple[Colour, ...] = ((44, 56, 84), (70, 62, 50), (36, 36, 40), (120, 106, 80), (72, 80, 62), (96, 98, 104))
HAIR: tuple[Colour, ...] = ((40, 30, 24), (92, 62, 38), (190, 156, 96), (150, 150, 150), (26, 24, 26))


def person(rng: Rng, size: float) -> Figure:
    """A person about `size` pixels tall (less when stooping)."""
    shirt, trousers = vary(rng, pick(rng, CLOTHES), 16), vary(rng, pick(rng, TROUSERS), 14)
    skin, hair = pick(rng, SKIN), vary(rng, pick(rng, HAIR), 10)
    pen = sheet(-0.75, -1.15, 0.75, 0.05, SMOOTHING * size)
    if rng.random() < 0.35:
        return cut(pen, rng, _front(pen, rng, shirt, trousers, skin, hair), rng.random() < 0.5, 0.12)
    return cut(pen, rng, _side(pen, rng, shirt, trousers, skin, hair), rng.random() < 0.5, 0.12)


def _side(
    pen: Pen, rng: Rng, shirt: Colour, trousers: Colour, skin: Colour, hair: Colour
) -> list[tuple[float, float, float]]:
    """Someone walking to the right; the body's height is 1 unit."""
    stride = float(rng.uniform(0.03, 0.17))
    lean = float(rng.uniform(0.0, 0.06)) if rng.random() < 0.85 else float(rng.uniform(0.18, 0.36))
    build = float(rng.uniform(0.85, 1.25))
    hip = (0.0, -0.5)
    drop = lean * 0.35
    neck = (lean * 1.3, -0.83 + drop)
    far = mix(trousers, (0, 0, 0), 0.3)
    boots = mix(trousers, (20, 16, 12), 0.7)
    _leg(pen, hip, -stride, far, boots, build)
    arm = float(rng.uniform(-0.12, 0.16))
    _arm(pen, neck, -arm, mix(shirt, (0, 0, 0), 0.3), skin, build)
    if rng.random() < 0.45:
        pack = vary(rng, pick(rng, CLOTHES), 14)
        back = [(neck[0] - 0.05, neck[1] - 0.01), (neck[0] - 0.2, neck[1] + 0.04), (-0.19, -0.56), (-0.05, -0.53)]
        polygon(pen, smooth(back), pack)
    _leg(pen, hip, stride, trousers, boots, build)
    torso = [hip, ((hip[0] + neck[0]) / 2 + 0.01, -0.66 + drop / 2), (neck[0], neck[1] + 0.05)]
    limb(pen, torso, [0.15 * build, 0.165 * build, 0.13 * build], shirt)
    _arm(pen, neck, arm, mix(shirt, (255, 255, 255), 0.06), skin, build)
    if rng.random() < 0.2:
        limb(pen, [(neck[0] + arm + 0.1, -0.52), (neck[0] + arm + 0.2, -0.01)], [0.012, 0.012], (70, 60, 52))
    head = (neck[0] + 0.03, neck[1] - 0.09)
    limb(pen, [neck, head], [0.07, 0.06], skin)
    ellipse(pen, head[0], head[1], 0.058, 0.075, skin)
    ellipse(pen, head[0] + 0.056, head[1] + 0.01, 0.014, 0.012, skin)
    _hat(pen, rng, head, hair, side=True)
    return []


def _front(
    pen: Pen, rng: Rng, shirt: Colour, trousers: Colour, skin: Colour, hair: Colour
) -> list[tuple[float, float, float]]:
    """Someone who faces the camera or walks away from it."""
    build = float(rng.uniform(0.85, 1.25))
    boots = mix(trousers, (20, 16, 12), 0.7)
    for side in (-1, 1):
        spread = side * float(rng.uniform(0.05, 0.09))
        leg = [(side * 0.05, -0.5), (spread, -0.25), (spread * 1.1, -0.03)]
        limb(pen, leg, [0.12 * build, 0.09 * build, 0.07], trousers)
        ellipse(pen, spread * 1.15, -0.025, 0.04, 0.03, boots)
        wide = side * (0.13 + float(rng.uniform(0.0, 0.08))) * build
        arm = [(side * 0.1 * build, -0.8), (wide, -0.64), (wide * 0.98, -0.5)]
        limb(pen, arm, [0.075, 0.065, 0.05], mix(shirt, (0, 0, 0), 0.14))
        ellipse(pen, wide * 0.98, -0.47, 0.026, 0.034, skin)
    torso = [
        (-0.06, -0.85),
        (0.06, -0.85),
        (0.12 * build, -0.8),
        (0.11 * build, -0.6),
        (0.1 * build, -0.46),
        (-0.1 * build, -0.46),
        (-0.11 * build, -0.6),
        (-0.12 * build, -0.8),
    ]
    polygon(pen, smooth(torso), shirt)
    away = rng.random() < 0.4
    if away and rng.random() < 0.6:
        pack = vary(rng, pick(rng, CLOTHES), 14)
        polygon(pen, smooth([(-0.08, -0.82), (0.08, -0.82), (0.1, -0.6), (-0.1, -0.6)]), pack)
    else:
        limb(pen, [(0, -0.84), (0, -0.48)], [0.008, 0.008], mix(shirt, (0, 0, 0), 0.4))
    head = (0.0, -0.925)
    limb(pen, [(0, -0.83), head], [0.07, 0.06], skin)
    ellipse(pen, 0, head[1], 0.056, 0.074, hair if away else skin)
    _hat(pen, rng, head, hair, side=False)
    if away:
        return []
    for side in (-1, 1):
        ellipse(pen, side * 0.022, head[1] - 0.002, 0.007, 0.006, (24, 20, 18))
    return []


def _leg(pen: Pen, hip: tuple[float, float], stride: float, colour: Colour, boots: Colour, build: float) -> None:
    knee = (hip[0] + stride * 0.6 + 0.02, -0.27)
    foot = (hip[0] + stride, -0.04 - max(0.0, -stride) * 0.2)
    limb(pen, [hip, knee, foot], [0.14 * build, 0.095 * build, 0.065], colour)
    limb(pen, [(foot[0] - 0.01, foot[1] + 0.01), (foot[0] + 0.075, foot[1] + 0.015)], [0.06, 0.042], boots)


def _arm(pen: Pen, neck: tuple[float, float], swing: float, colour: Colour, skin: Colour, build: float) -> None:
    elbow = (neck[0] + swing * 0.5 - 0.02, neck[1] + 0.19)
    hand = (neck[0] + swing + math.copysign(0.03, swing), neck[1] + 0.34 - abs(swing) * 0.3)
    limb(pen, [(neck[0] - 0.005, neck[1] + 0.05), elbow, hand], [0.075 * build, 0.06 * build, 0.045], colour)
    ellipse(pen, hand[0], hand[1] + 0.01, 0.025, 0.028, skin)


def _hat(pen: Pen, rng: Rng, head: tuple[float, float], hair: Colour, *, side: bool) -> None:
    x, y = head
    crown = [
        (x - 0.062, y + (0.03 if side else -0.01)),
        (x - 0.06, y - 0.05),
        (x, y - 0.088),
        (x + 0.055, y - 0.055),
        (x + 0.056, y - 0.025),
    ]
    kind = rng.random()
    if kind < 0.5:
        polygon(pen, smooth(crown), hair)
        return
    hat = vary(rng, pick(rng, CLOTHES), 12)
    polygon(pen, smooth([(x - 0.062, y - 0.02), *crown[1:4], (x + 0.06, y - 0.02)]), hat)
    if kind < 0.75:
        limb(pen, [(x, y - 0.026), (x + (0.11 if side else 0.0), y - 0.02)], [0.02, 0.016], mix(hat, (0, 0, 0), 0.25))
    elif kind < 0.88:
        limb(pen, [(x - 0.12, y - 0.02), (x + 0.12, y - 0.02)], [0.016, 0.016], mix(hat, (0, 0, 0), 0.2))
