"""Triton's Python backend for a model of chosen cost: as the entry of a real one, but it looks at no pixel, takes its
time, and finds nothing."""

import json
import time

import numpy as np

from model_repository.templates.cpu import model as served


class TritonPythonModel(served.TritonPythonModel):
    """What Triton calls. The names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads how long an image takes."""
        seconds = float(json.loads(args["model_config"])["parameters"]["seconds"]["string_value"])

        def run(_: served.Array) -> list[served.Array]:
            if seconds:
                time.sleep(seconds)
            return [np.zeros((1, 300, 6), np.float32), np.zeros(1, np.int32)]

        self._session = served.Session("images", ("detections", "count"), run)
        self._regions = served.Regions()
