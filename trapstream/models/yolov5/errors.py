"""The one error of this package."""

from trapstream.core.errors import TrapstreamError


class CheckpointError(TrapstreamError):
    """A file that cannot be read as a YOLOv5 checkpoint. One line that says what it is, or what to do."""
