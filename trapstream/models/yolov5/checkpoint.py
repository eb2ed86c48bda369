"""From a YOLOv5 checkpoint to a graph, written from the list of layers that the model itself had when it was saved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trapstream.models.raw import RawModel
from trapstream.models.yolov5 import CheckpointError, pickles
from trapstream.models.yolov5.archive import Archive
from trapstream.models.yolov5.graph import Module, Tap, Writer, value_info
from trapstream.models.yolov5.head import Head, detect
from trapstream.models.yolov5.layers import concat, write
from trapstream.models.yolov5.pickled import Record, Tensor
from trapstream.models.yolov5.pickled_names import CLASSIFIERS, MODELS

_LAYERS = 500
_CLASSES = 10_000


def read_checkpoint(path: Path, progress: Callable[[int], None] = lambda _: None) -> RawModel:
    """The detector in a checkpoint. `progress` is told how many weights were read.

    Nothing of the file is executed, whatever is in it. Raises CheckpointError with one line, OSError as the disk gives
    it.
    """
    with contextlib.closing(Archive(path)) as archive:
        checkpoint, info = pickles.read(archive.pickle()), archive.megadetector_info()
        model = Module("model", _model(checkpoint))
        writer = Writer(archive, progress)
        head = _layers(writer, model.child("model"))
    graph = writer.model.graph
    graph.input.append(value_info("pixels", ["batch", 3, "height", "width"]))
    graph.output.append(value_info("boxes", ["batch", "cells", 4]))
    graph.output.append(value_info("scores", ["batch", "cells", head.classes]))
    return RawModel(
        graph=writer.model,
        family="yolov5",
        classes=_classes(model, head.classes),
        image_size=_image_size(checkpoint, info, max(head.strides)),
        stride=max(head.strides),
    )


def _model(checkpoint: Any) -> Record:
    """The model in what was saved: its moving average where there is one, as YOLOv5 takes it."""
    found = [checkpoint]
    if isinstance(checkpoint, dict):
        found = [checkpoint.get("ema"), checkpoint.get("model")]
    for each in found:
        if isinstance(each, Record) and each.kind in MODELS:
            return each
        if isinstance(each, Record) and each.kind == "models.yolo.ClassificationModel":
            raise CheckpointError("the file is a classifier: it names what a picture shows, and finds no boxes")
        if isinstance(each, Record):
            raise CheckpointError(f"the file holds a {each.kind}, and no detector of YOLOv5")
    weights = [*found, checkpoint, *(checkpoint.values() if isinstance(checkpoint, dict) else [])]
    if any(isinstance(each, dict) and any(isinstance(value, Tensor) for value in each.values()) for each in weights):
        raise CheckpointError(
            "the file holds weights without the model that they belong to; export the model to ONNX with the software "
            "that made it, and import the ONNX file"
        )
    raise CheckpointError("the file is a checkpoint, but there is no model in it")


def _layers(writer: Writer, layers: Module) -> Head:
    """Writes all layers. Each takes what its `f` says: the one before (-1), or those of these numbers."""
    before = Tap("pixels", 3)
    made: list[Tap] = []
    modules = layers.children()
    if not 0 < len(modules) <= _LAYERS:
        raise CheckpointError(f"the model has {len(modules)} layers, which no YOLOv5 has")
    for number, module in enumerate(modules):
        values = [before if each == -1 else made[each] for each in _sources(module, number)]
        if module.kind == "models.yolo.Detect":
            if module is not modules[-1]:
                raise CheckpointError(f"{module.path} is a Detect that is not the last layer")
            return detect(writer, module, values)
        if module.kind in CLASSIFIERS:
            raise CheckpointError("the file is a classifier: it names what a picture shows, and finds no boxes")
        before = _layer(writer, module, values)
        made.append(before)
    raise CheckpointError(f"the model ends with a {modules[-1].kind}, and not with the Detect of a YOLOv5 detector")


def _sources(module: Module, number: int) -> list[int]:
    """The numbers of the layers whose values this one takes; -1 is the one before."""
    given = module.record.state.get("f")
    wanted: list[Any] = given if isinstance(given, list) else [given]
    if not wanted or any(type(each) is not int or not -number <= each < number for each in wanted if each != -1):
        raise CheckpointError(f"{module.path} ({module.kind}) takes the values of layers that are not there")
    return wanted


def _layer(writer: Writer, module: Module, values: list[Tap]) -> Tap:
    if module.kind != "models.common.Concat":
        if len(values) != 1:
            raise CheckpointError(f"{module.path} ({module.kind}) takes {len(values)} values, and not one")
        return write(writer, module, values[0])
    if module.get("d", int) != 1:
        raise CheckpointError(f"{module.path} puts values together by something else than their channels")
    return concat(writer, values, module.path)


def _classes(model: Module, count: int) -> tuple[str, ...] | None:
    """The names of the classes, which are a list or a dictionary of them; None where they are not told."""
    names = model.record.state.get("names")
    if isinstance(names, dict):
        names = [names.get(index) for index in range(len(names))]
    if not isinstance(names, list) or len(names) != count or count > _CLASSES:
        return None
    return tuple(names) if all(isinstance(name, str) and name.isprintable() for name in names) else None


def _image_size(checkpoint: Any, info: Any, stride: int) -> int | None:
    """The size that MegaDetector's script takes, where its file says one; else the one that it was trained at, which
    newer checkpoints keep among the options of their training."""
    options = checkpoint.get("opt") if isinstance(checkpoint, dict) else None
    for source, name in ((info, "image_size"), (options, "imgsz")):
        size = source.get(name) if isinstance(source, dict) else None
        if type(size) is int and size >= stride and size % stride == 0:
            return size
    return None
