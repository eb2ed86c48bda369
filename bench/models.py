"""The model that is measured: the demonstration model, one of the user's, or a detector's size in random weights."""

from dataclasses import dataclass
from pathlib import Path

import model_repository
from bench.random_detector import yolov5
from trapstream.core.messages import ModelInfo
from trapstream.models import bundle_store, deployed
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import Card, read_card
from trapstream.models.complete import complete
from trapstream.models.deployed import RUNTIME, Deployed, Deployment, Runtime
from trapstream.models.onnx_graph import write_graph
from trapstream.models.original import pack
from trapstream.models.raw import RawModel

_DEMONSTRATION = Path(model_repository.__path__[0]) / "demonstration"
SIZED: tuple[Runtime, ...] = ("onnxruntime", "openvino-bfloat16")
"""What a detector of a usual size is measured with."""
_SEES_NOTHING = -1e4
"""Random weights see 300 things or none. None is what most photographs hold."""
_CLASSES = ("animal", "person", "vehicle")


@dataclass(frozen=True)
class Model:
    """A bundle, and what runs it."""

    bundle: Bundle
    runtime: Runtime = RUNTIME

    @property
    def info(self) -> ModelInfo:
        """What travels with a job."""
        return self.bundle.card.info

    @property
    def name(self) -> str:
        """For people: with its runtime where that is not the usual one."""
        return self.bundle.label if self.runtime == RUNTIME else f"{self.bundle.label} ({self.runtime})"

    def deploy(self, home: Path) -> dict[str, str]:
        """Has a stack that will start in `home` serve this and nothing else; the settings that it needs for that."""
        card = self.bundle.card
        known = Deployed().with_version(card.name, card.version, Deployment(runtime=self.runtime))
        deployed.write(home, known.with_default(card.name, card.version))
        return {"TRAPSTREAM_BUNDLE": str(self.bundle.folder)}


def demonstration() -> Model:
    """What is measured where no other is named: every machine has it."""
    return Model(Bundle(_DEMONSTRATION, read_card(_DEMONSTRATION / bundle_store.CARD)))


def chosen(home: Path, label: str | None, runtime: Runtime | None) -> Model:
    """NAME[@VERSION] of `home`, run by what it is deployed with there, unless `runtime` says another. Errors as
    `bundle_store.find`."""
    if label is None:
        return Model(demonstration().bundle, runtime or RUNTIME)
    bundle = bundle_store.find(home, label)
    return Model(bundle, runtime or deployed.read(home).how(bundle.card.name, bundle.card.version).runtime)


def yolov5s(home: Path) -> Bundle:
    """A YOLOv5s of three classes with random weights for images of 640, kept in the models of `home`."""
    raw = RawModel(
        graph=yolov5(width=0.5, shift=_SEES_NOTHING), family="yolov5", classes=_CLASSES, image_size=640, stride=32
    )
    card = Card(
        name="yolov5s-random", version="1", family=raw.family, image_size=640, stride=32, sha256="",
        classes={str(number): name for number, name in enumerate(_CLASSES, start=1)}, source="random weights",
        precision="float32", licence="none", typical_detection_threshold=0.2, conservative_detection_threshold=0.1,
    )  # fmt: skip

    def write(draft: Path) -> None:
        write_graph(draft / bundle_store.RAW, pack(raw))
        write_graph(draft / bundle_store.GRAPH, complete(raw))

    return bundle_store.keep(home, card, write)
