"""What a model's bundle is called in Triton, and which of its instances are for whom. Pure."""

from collections.abc import Collection

from trapstream.core.messages import Lane

TRITON_VERSION = "1"
"""Triton's own version of every entry: those are whole numbers, and a bundle's are not."""
LIVE_VERSION = "2"
"""The same graph with instances of their own for live images, in entries that have it: those of the CPU."""
BULK_NICE = 8
"""By so much what computes bulk images on the CPU gives way to the rest: on a core that a live image needs it keeps a
seventh. That is less than the lane's share of 20 %, so the shares decide who gets how much, and not the system. A
process may not take this back, so live images have threads and instances of their own."""


def lane_version(lane: Lane, versions: Collection[str]) -> str:
    """Triton's version that answers images of `lane`, of those that an entry has."""
    return LIVE_VERSION if lane is Lane.LIVE and LIVE_VERSION in versions else TRITON_VERSION


def triton_name(name: str, version: str) -> str:
    """The entry that serves one version of a model. Each has one of its own, so they load and unload independently."""
    return f"{name}@{version}"
