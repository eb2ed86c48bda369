"""The proportions of the quadrupeds that are drawn, and the colours of coats and feathers."""

from dataclasses import dataclass

from trapstream.scenes.canvas import Colour

TAWNY, BROWN, DARK, GREY, RED = (168, 128, 84), (112, 80, 54), (58, 46, 40), (128, 122, 114), (176, 96, 48)
SAND, WHITE, BLACK = (198, 170, 126), (226, 222, 212), (34, 32, 34)


@dataclass(frozen=True)
class Quadruped:
    """Proportions in units of the trunk's length (shoulder to hip)."""

    legs: float
    depth: float
    leg_width: float
    neck: float
    neck_angle: float
    neck_width: float
    head: float
    muzzle: float
    ear: float
    tail: float
    tail_width: float
    coats: tuple[Colour, ...]
    hump: float = 0.0
    ears: str = "point"
    tail_angle: float = 1.9
    pattern: str = "plain"
    horns: str = "none"


PLANS: dict[str, Quadruped] = {
    "deer": Quadruped(
        0.62, 0.44, 0.11, 0.62, 0.95, 0.22, 0.2, 0.26, 0.2, 0.14, 0.08, (TAWNY, BROWN, RED), horns="antlers"
    ),
    "antelope": Quadruped(
        0.66, 0.42, 0.1, 0.55, 0.9, 0.2, 0.18, 0.26, 0.18, 0.3, 0.05, (SAND, TAWNY, BROWN), horns="straight"
    ),
    "wolf": Quadruped(
        0.5, 0.4, 0.12, 0.35, 0.55, 0.26, 0.21, 0.26, 0.16, 0.52, 0.13, (GREY, BROWN, DARK), tail_angle=1.1
    ),
    "fox": Quadruped(0.36, 0.32, 0.09, 0.26, 0.55, 0.2, 0.19, 0.22, 0.19, 0.72, 0.2, (RED, RED, GREY), tail_angle=0.5),
    "boar": Quadruped(0.32, 0.56, 0.13, 0.22, 0.12, 0.44, 0.28, 0.36, 0.14, 0.24, 0.05, (DARK, BROWN, GREY), hump=0.1),
    "bear": Quadruped(
        0.36, 0.6, 0.22, 0.28, 0.25, 0.4, 0.3, 0.24, 0.11, 0.06, 0.08, (DARK, BROWN, BLACK), hump=0.1, ears="round"
    ),
    "cattle": Quadruped(
        0.48,
        0.58,
        0.14,
        0.36,
        0.4,
        0.36,
        0.24,
        0.32,
        0.16,
        0.5,
        0.06,
        (BROWN, DARK, WHITE, RED),
        horns="curved",
        pattern="patch",
    ),
    "zebra": Quadruped(0.58, 0.5, 0.12, 0.52, 0.85, 0.3, 0.21, 0.3, 0.16, 0.44, 0.07, (WHITE,), pattern="stripes"),
    "cat": Quadruped(
        0.4,
        0.34,
        0.13,
        0.24,
        0.5,
        0.24,
        0.22,
        0.13,
        0.12,
        0.75,
        0.09,
        (TAWNY, SAND, GREY),
        ears="round",
        tail_angle=0.9,
        pattern="spots",
    ),
    "lynx": Quadruped(
        0.46, 0.38, 0.15, 0.22, 0.6, 0.25, 0.23, 0.13, 0.17, 0.16, 0.1, (GREY, TAWNY, SAND), pattern="spots"
    ),
    "elephant": Quadruped(
        0.5, 0.74, 0.24, 0.2, 0.4, 0.45, 0.36, 0.1, 0.36, 0.4, 0.05, (GREY, (104, 98, 94)), ears="fan", hump=0.06
    ),
    "badger": Quadruped(
        0.16, 0.38, 0.13, 0.2, 0.1, 0.28, 0.2, 0.26, 0.08, 0.26, 0.1, (GREY, DARK, BROWN), ears="round", hump=0.04
    ),
    "rabbit": Quadruped(
        0.2, 0.56, 0.15, 0.16, 0.85, 0.34, 0.28, 0.16, 0.48, 0.1, 0.16, (BROWN, TAWNY, GREY), ears="long", hump=0.12
    ),
    "mouse": Quadruped(
        0.1,
        0.46,
        0.09,
        0.12,
        0.2,
        0.36,
        0.24,
        0.26,
        0.17,
        1.0,
        0.05,
        (BROWN, GREY, TAWNY),
        ears="round",
        tail_angle=0.3,
        hump=0.08,
    ),
    "porcupine": Quadruped(
        0.16, 0.56, 0.14, 0.14, 0.2, 0.34, 0.24, 0.24, 0.08, 0.3, 0.14, (DARK, GREY), pattern="quills", hump=0.14
    ),
}
