"""Reads YOLOv5's checkpoints without PyTorch, without YOLOv5's code, and without executing the pickle in them."""

from trapstream.core.errors import TrapstreamError


class CheckpointError(TrapstreamError):
    """A file that cannot be read as a YOLOv5 checkpoint. One line that says what it is, or what to do."""
