"""Triton's Python backend for an ONNX graph on the CPU: one process for each instance.

Images are run one at a time, whatever batch they arrive in. So the answer for an image does not depend on its company
(result files must have the same bytes after a crash), one bad image cannot fail its neighbours, and it is not slower:
on a CPU the intermediate tensors of one image stay in the cache, those of eight do not.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

try:
    import triton_python_backend_utils as pb
except ModuleNotFoundError:  # exists inside Triton only; the rest is tested without it
    pb = None

Array = npt.NDArray[Any]


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """The graph, ready to run, with `threads` threads that sleep when idle: spinning instances starve each other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # shapes vary from request to request
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def detect(session: ort.InferenceSession, images: Array) -> list[Array]:
    """The graph's outputs for a request's images [N, H, W, 3], uint8. First axis of each output: N."""
    name = session.get_inputs()[0].name
    answers = [session.run(None, {name: images[i : i + 1]}) for i in range(len(images))]
    return answers[0] if len(answers) == 1 else [np.concatenate(parts) for parts in zip(*answers, strict=True)]


class TritonPythonModel:
    """What Triton calls. The names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads `model.onnx`, which lies beside this file."""
        parameters = json.loads(args["model_config"])["parameters"]
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = open_session(path, int(parameters["threads"]["string_value"]))
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in order; an error answers its own request only."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            images = pb.get_input_tensor_by_name(request, self._input).as_numpy()
            arrays = detect(self._session, images)
            tensors = [pb.Tensor(name, array) for name, array in zip(self._outputs, arrays, strict=True)]
            return pb.InferenceResponse(output_tensors=tensors)
        except Exception as error:  # whatever it is, it belongs to this request and to no other
            return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(f"{type(error).__name__}: {error}"))
