"""Turns trained weights into the bundle: `python -m training.export WEIGHTS`. Needs torch."""

import argparse
import io
import warnings
from pathlib import Path

import onnx
import torch

from training.network import Detector
from trapstream.models.complete import complete
from trapstream.models.raw import OLDEST, RawModel


def raw_graph(weights: Path) -> onnx.ModelProto:
    """The network alone, as an ONNX graph with every size dynamic."""
    model = Detector().eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    axes = {"images": {0: "batch", 2: "height", 3: "width"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 480, 640),),
            buffer,
            input_names=["images"],
            output_names=["boxes", "scores"],
            dynamic_axes=axes,
            opset_version=OLDEST,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def main() -> None:
    """Writes model.onnx to the folder that is served."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    graph = raw_graph(options.weights)
    raw = RawModel(graph=graph, family="demonstration", classes=None, image_size=None, stride=None)
    onnx.save(complete(raw), "model_repository/demonstration/model.onnx")


if __name__ == "__main__":
    main()
