"""Triton's Python backend for a model of chosen cost: it looks at no pixel, takes its time, and finds nothing."""

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    import triton_python_backend_utils as pb
except ModuleNotFoundError:  # exists inside Triton only
    pb = None


class TritonPythonModel:
    """What Triton calls. The names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads how long an image takes."""
        self._seconds = float(json.loads(args["model_config"])["parameters"]["seconds"]["string_value"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One empty answer for each request."""
        answers, images = [], 0
        for request in requests:
            count = pb.get_input_tensor_by_name(request, "images").shape()[0]
            images += count
            found = (np.zeros((count, 300, 6), np.float32), np.zeros(count, np.int32))
            tensors = [pb.Tensor(name, array) for name, array in zip(("detections", "count"), found, strict=True)]
            answers.append(pb.InferenceResponse(output_tensors=tensors))
        if self._seconds:
            time.sleep(self._seconds * images)
        return answers
