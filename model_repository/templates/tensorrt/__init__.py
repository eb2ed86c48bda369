"""The entry of a TensorRT plan, for a machine with a GPU."""
