"""Which runtime serves a bundle best on this machine without a GPU: the fastest of those that pass the check."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from model_repository.templates.cpu import model as served
from trapstream.models.agreement import Rows
from trapstream.models.check import Picture, Report, Row, Side, check, rows_of
from trapstream.models.original import open_original


@dataclass(frozen=True, order=True)
class Runtime:
    """A runtime behind Triton's Python backend, and what it computes in. Both go into the entry as they are."""

    name: str
    precision: str

    def __str__(self) -> str:
        return f"{_NAMES[self.name]} in {self.precision}"


_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
DEFAULT = Runtime("onnxruntime", "float32")
RUNTIMES = (DEFAULT, Runtime("openvino", "float32"), Runtime("openvino", "bfloat16"))
"""In the order in which a tie is decided."""
