"""A graph on the CPU in Triton's Python backend, run by ONNX Runtime or by OpenVINO: needs no GPU."""
