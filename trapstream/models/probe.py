"""A graph run once in ONNX Runtime, to see what its shapes alone do not say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[np.float32]


class ProbeError(Exception):
    """ONNX Runtime cannot load the graph, or not run it on what it was given."""


class Probe:
    """A graph in ONNX Runtime, on the CPU."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """ProbeError where it cannot be loaded."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised as well
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's classes have no common one below this
            raise ProbeError(_short(error)) from error

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """All outputs, by name. ProbeError where it cannot run."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            return dict(zip(names, map(np.asarray, self._session.run(names, dict(feeds))), strict=True))
        except Exception as error:  # as above
            raise ProbeError(_short(error)) from error


def noise(images: int, size: tuple[int, int], seed: int = 0) -> Array:
    """Images [N, 3, H, W] in 0 to 1 that have little in common: noise on grounds of different brightness."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(0, 0.5, (images, 3, 1, 1))
    return (ground + rng.uniform(0, 0.5, (images, 3, *size))).astype(np.float32)


def _short(error: Exception) -> str:
    """The last part of ONNX Runtime's long lines."""
    text = str(error).strip().splitlines()[0]
    return text[-300:]
