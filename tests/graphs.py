"""A model for tests that find nothing and break at will: its answer depends on an image's brightness alone."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from bench.tools.chaos_model import save_mean_graph

ANY, NONE = 255.0, -1.0
"""Limits that every image is within, and none."""


def save_picky(path: Path, limit: float) -> None:
    """Finds nothing in images whose mean is at most `limit`, and fails on brighter ones, as a broken export does.

    The mean chooses a row of a table that has only one: the second is an error at run time.
    """
    values = {"limit": np.float32(limit), "table": np.zeros((1, 300, 6), "f4"), "zeros": np.zeros(1, "i4")}
    nodes = [
        helper.make_node("Greater", ["mean", "limit"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["detections"], axis=0),
        helper.make_node("Gather", ["zeros", "row"], ["count"], axis=0),
    ]
    save_mean_graph(path, "picky", nodes, values)
