"""Bundles of small random detectors, for tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tests.random_detector import yolov5
from trapstream.models.bundle_store import GRAPH, RAW, Bundle, keep
from trapstream.models.card import Card, sha256_of, write_card
from trapstream.models.complete import Rule, complete
from trapstream.models.half import to_half
from trapstream.models.onnx_graph import write_graph
from trapstream.models.original import pack
from trapstream.models.raw import RawModel

NAMES = ("animal", "person", "vehicle")


def random_model(shift: float = -14.0, width: float = 0.125) -> RawModel:
    """A tiny YOLOv5; the higher the shift, the surer it is of what it imagines."""
    graph = yolov5(width=width, shift=shift)
    return RawModel(graph=graph, family="yolov5", classes=NAMES, image_size=320, stride=32)


def write(
    folder: Path,
    raw: RawModel,
    rule: Rule | None = None,
    precision: str = "float32",
    members: tuple[tuple[int, ...], ...] | None = None,
) -> Bundle:
    """A bundle as an import makes it. `rule` and `raw` may be changed afterwards, as a wrong completion would."""
    folder.mkdir(parents=True, exist_ok=True)
    network = replace(raw, graph=to_half(raw.graph)) if precision == "float16" else raw
    onnx.save(complete(network, rule, members), str(folder / "model.onnx"))
    onnx.save(pack(raw, members), str(folder / "raw.onnx"))
    names = NAMES if members is None else NAMES[: len(members)]
    card = Card(
        name="random", version="1", family=raw.family, classes={str(n): name for n, name in enumerate(names, start=1)},
        image_size=320, stride=32, typical_detection_threshold=0.2, conservative_detection_threshold=0.1,
        precision=precision, sha256=sha256_of(folder / "model.onnx"), source="random weights", licence="none",
    )  # fmt: skip
    write_card(folder / "card.json", card)
    return Bundle(folder, card)


def add(home: Path, card: Card, graph: onnx.ModelProto, raw: onnx.ModelProto) -> Bundle:
    """Keeps a bundle of these two graphs in the store of `home`, as an import does at its end."""

    def write_graphs(draft: Path) -> None:
        write_graph(draft / RAW, raw)
        write_graph(draft / GRAPH, graph)

    return keep(home, card, write_graphs)


def surer(graph: onnx.ModelProto, times: float) -> onnx.ModelProto:
    """The same raw graph with all its scores multiplied."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    [last] = [node for node in made.graph.node if "scores" in node.output]
    last.output[list(last.output).index("scores")] = "unscaled"
    made.graph.initializer.append(numpy_helper.from_array(np.float32(times), "times"))
    made.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "times"], ["scores"]))
    return made
