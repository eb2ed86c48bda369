"""What can run a bundle without a GPU, behind Triton's Python backend. The name decides every bit of the answers."""

from typing import Literal

Runtime = Literal["onnxruntime", "openvino", "openvino-bfloat16"]
RUNTIME: Runtime = "onnxruntime"
"""Where none was chosen: it gives the same answers on every machine of a kind, whatever is faster on the day."""
PRECISION: dict[Runtime, str] = {"onnxruntime": "float32", "openvino": "float32", "openvino-bfloat16": "bfloat16"}
"""What each computes in."""
