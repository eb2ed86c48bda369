"""ONNX Runtime in Triton's Python backend: runs anywhere, needs no GPU."""
