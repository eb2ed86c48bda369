"""An entry of a result file, as far as accounts, comparisons and contact sheets need it. Pure."""

import msgspec


class Box(msgspec.Struct, frozen=True, gc=False):
    """One detection."""

    conf: float = 0.0
    category: str = ""
    bbox: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """x_min, y_min, width, height, relative."""


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One image's answer."""

    file: str
    detections: list[Box] | None = None
    failure: str | None = None

    @property
    def confidence(self) -> float:
        """Of the best detection; 0 without one."""
        return max((box.conf for box in self.detections or ()), default=0.0)
