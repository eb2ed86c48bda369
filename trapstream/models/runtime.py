"""What can run a bundle without a GPU, behind Triton's Python backend."""

from typing import Literal

Runtime = Literal["onnxruntime"]
RUNTIME: Runtime = "onnxruntime"
"""Where none was chosen."""
