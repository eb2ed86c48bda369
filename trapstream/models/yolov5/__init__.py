"""Reads YOLOv5's checkpoints without PyTorch, without YOLOv5's code, and without executing the pickle in them."""
