"""Models of chosen cost. One that costs nothing shows the cost of everything around a model; one that only takes time
is a detector that does not need the cores.

Triton imports this file too, for the class at its end.
"""

import time
from pathlib import Path

import numpy as np

import model_repository
from model_repository.templates.cpu import model as served
from trapstream.core import json_codec
from trapstream.core.messages import ModelInfo
from trapstream.core.triton_names import triton_name

_ROOT = Path(model_repository.__path__[0]).parent
_CONFIG = """name: "{entry}"
backend: "python"
max_batch_size: 8
input [
  {{ name: "images" data_type: TYPE_UINT8 dims: [-1, -1, 3] optional: true }},
  {{ name: "places" data_type: TYPE_STRING dims: [1] optional: true }}
]
output [
  {{ name: "detections" data_type: TYPE_FP32 dims: [300, 6] }},
  {{ name: "count" data_type: TYPE_INT32 dims: [1] reshape {{ shape: [] }} }}
]
dynamic_batching {{ priority_levels: 2 default_priority_level: 2 }}
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
parameters {{ key: "seconds" value {{ string_value: "{seconds}" }} }}
"""
_MODEL = '''"""An entry of chosen cost for Triton; the class is in bench/timed.py."""

import sys

sys.path.insert(0, {root!r})

from bench.timed import TritonPythonModel
'''


def write_entry(repository: Path, name: str, seconds: float, instances: int = 1) -> ModelInfo:
    """Writes an entry that takes `seconds` for each image; Triton still has to load it."""
    info = ModelInfo(
        name=name, version="1", sha256="0" * 64, image_size=640, stride=32, classes={"1": "animal"},
        typical_threshold=0.2, conservative_threshold=0.1,
    )  # fmt: skip
    folder = repository / entry_of(info)
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").write_text(_MODEL.format(root=str(_ROOT)))
    config = _CONFIG.format(entry=entry_of(info), instances=instances, seconds=seconds)
    (folder / "config.pbtxt").write_text(config)
    return info


def entry_of(info: ModelInfo) -> str:
    """The name that Triton serves the model by."""
    return triton_name(info.name, info.version)


class TritonPythonModel(served.TritonPythonModel):
    """The entry's code, as that of a real model, but it looks at no pixel, takes its time, and finds nothing."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads how long an image takes. The name is Triton's."""
        seconds = float(json_codec.decode(args["model_config"])["parameters"]["seconds"]["string_value"])

        def run(_: served.Array) -> list[served.Array]:
            if seconds:
                time.sleep(seconds)
            return [np.zeros((1, 300, 6), np.float32), np.zeros(1, np.int32)]

        self._session = served.Session("images", ("detections", "count"), run)
        self._regions = served.Regions()
