"""ONNX exports of detectors: recognised by what they tell and by what comes out of them.

`read_export` is for files of the YOLO and RT-DETR families as their own tools write them; layouts.py lists them.
Pixels are taken to be wanted as RGB from 0 to 1, which is what all of them want.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from trapstream.models import layouts
from trapstream.models.classes import checked_names
from trapstream.models.decoding import decode
from trapstream.models.export_facts import ImageInput, Metadata, image_input, read_metadata
from trapstream.models.layouts import Kind, Layout, UnknownLayoutError
from trapstream.models.onnx_file import ExportError, load_onnx
from trapstream.models.onnx_graph import add_prefix
from trapstream.models.probe import BATCH, Probe, ProbeError, keeps_apart, noise, one_by_one, with_free_batch
from trapstream.models.raw import OpsetError, RawModel, brought_to_opset

PREFIX = "export/"
_FREE_SIZE = (256, 320)
"""What a graph of any size is tried on: multiples of every stride, and its sides are not the same."""
_STRETCHED = frozenset({Kind.RTDETR, Kind.RTDETR_ROWS, Kind.RTDETRV2})
_SUPPRESSED = frozenset({Kind.END_TO_END, *_STRETCHED})
_USUAL_STRIDE = 32


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What the user says of a model; it goes before what the file says. None: nothing."""

    family: str | None = None
    """One of layouts.FAMILIES."""
    image_size: int | None = None
    """Longest side of the network's input, in pixels."""
    stride: int | None = None
    names: tuple[str, ...] | None = None
    """Of the model's classes, in its order."""


def read_export(path: Path, hints: Hints | None = None) -> RawModel:
    """The detector in the ONNX file `path`. ExportError says in one line what is wrong, or what the user has to say;
    ClassMapError names what can be no name of a class.

    The graph is run a few times on images of noise: to see what its outputs are, and whether it keeps the images of a
    batch apart. One that does not, as it was exported for a single image, is put into a loop.
    """
    hints = hints or Hints()
    if hints.family is not None and hints.family not in layouts.FAMILIES:
        raise ExportError(f"no family {hints.family}: there is {', '.join(layouts.FAMILIES)}")
    model = load_onnx(path)
    metadata = read_metadata(model)
    metadata = replace(metadata, names=hints.names or metadata.names, stride=hints.stride or metadata.stride)
    if metadata.names is not None:
        checked_names(metadata.names, str(path))
    if metadata.task not in {None, "detect"}:
        raise ExportError(f"{path}: its metadata say that it is for the task {metadata.task}; only detect is of use")
    try:
        source = image_input(model)
        model = brought_to_opset(model)
        return _read(model, source, metadata, hints)
    except (OpsetError, UnknownLayoutError, ProbeError, ExportError) as error:
        raise ExportError(f"{path}: {error}") from error


def _read(model: onnx.ModelProto, source: ImageInput, metadata: Metadata, hints: Hints) -> RawModel:
    _prefix_names(model)
    size = source.fixed or _FREE_SIZE
    probe = Probe(model)
    try:
        answers = probe.run(_feeds(source, size))
    except ProbeError as error:
        if source.fixed:
            raise
        # A side can be called free that is not. Then it takes the size it was exported for.
        wanted = metadata.size if hints.image_size is None else (hints.image_size, hints.image_size)
        if wanted is None:
            raise ExportError(
                f"it does not run on {size[1]} x {size[0]} pixels, though it says that any size will do: --image-size "
                f"tells the one it was exported for ({error})"
            ) from error
        source, size = replace(source, fixed=wanted), wanted
        answers = probe.run(_feeds(source, size))
    del probe  # and its copy of the weights
    outputs = {name.removeprefix(PREFIX): value for name, value in answers.items()}
    layout = layouts.recognise(outputs, size, metadata.names, hints.family)
    fixed = source.fixed
    if layout.kind in _STRETCHED and fixed is None:
        fixed = metadata.size if hints.image_size is None else (hints.image_size, hints.image_size)
        if fixed is None:
            raise ExportError(f"its {layout.kind.family} wants square images of one size: --image-size tells which")
    if source.fixed and hints.image_size not in {None, max(source.fixed)}:
        raise ExportError(
            f"it takes {source.fixed[1]} x {source.fixed[0]} pixels and nothing else, so --image-size can only be "
            f"{max(source.fixed)}; export the model again for another"
        )
    graph = _for_any_batch(_decode(model, source, layout, fixed), source, fixed or size)
    image_size = max(fixed) if fixed else hints.image_size or (max(metadata.size) if metadata.size else None)
    return RawModel(
        graph=graph,
        family=layout.kind.family,
        classes=metadata.names,
        image_size=image_size,
        stride=_stride(metadata, layout, fixed),
        fixed=fixed,
        stretch=layout.kind in _STRETCHED,
        suppress=layout.kind not in _SUPPRESSED,
        notes=_notes(metadata, layout),
    )


def _prefix_names(model: onnx.ModelProto) -> None:
    """Gives the model names that leave room for those of the nodes to come, and a version that fits its opset."""
    add_prefix(model.graph, PREFIX)
    model.ir_version = max(helper.find_min_ir_version_for(model.opset_import), 8)
    kept = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in kept]  # old files list the weights too
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.graph.value_info[:]
    del model.metadata_props[:]


def _feeds(source: ImageInput, size: tuple[int, int]) -> dict[str, NDArray[np.generic]]:
    images = noise(source.batch or 1, size).astype(source.type)
    feeds: dict[str, NDArray[np.generic]] = {PREFIX + source.name: images}
    if source.sizes is not None:
        feeds[PREFIX + source.sizes] = np.tile(np.asarray([size[::-1]], source.sizes_type), (len(images), 1))
    return feeds


def _decode(
    model: onnx.ModelProto, source: ImageInput, layout: Layout, fixed: tuple[int, int] | None
) -> onnx.ModelProto:
    """The model itself, put between an input in float32 and `boxes` and `scores`."""
    graph = model.graph
    before = [helper.make_node("Cast", ["images"], [PREFIX + source.name], to=source.element)]
    if source.sizes is not None and fixed is not None:
        before += _sizes_nodes(source)
        graph.initializer.extend(_sizes_constants(source, fixed))
    made = decode(replace(layout, outputs=tuple(PREFIX + name for name in layout.outputs)), fixed)
    for node in reversed(before):
        graph.node.insert(0, node)
    graph.node.extend(made.nodes)
    graph.initializer.extend(made.constants)
    batch, (height, width) = source.batch or BATCH, fixed or ("height", "width")
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width]))
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, None, None]) for name in ("boxes", "scores")
    )
    return model


def _sizes_nodes(source: ImageInput) -> list[onnx.NodeProto]:
    """The size of each image, (width, height): that of the input, so that boxes come in its pixels."""
    return [
        helper.make_node("Shape", ["images"], ["sizes/batch"], start=0, end=1),
        helper.make_node("Concat", ["sizes/batch", "sizes/two"], ["sizes/shape"], axis=0),
        helper.make_node("Expand", ["sizes/one", "sizes/shape"], [f"{PREFIX}{source.sizes}"]),
    ]


def _sizes_constants(source: ImageInput, fixed: tuple[int, int]) -> list[onnx.TensorProto]:
    return [
        onnx.numpy_helper.from_array(np.asarray([2], np.int64), "sizes/two"),
        onnx.numpy_helper.from_array(np.asarray([fixed[::-1]], source.sizes_type), "sizes/one"),
    ]


def _for_any_batch(model: onnx.ModelProto, source: ImageInput, size: tuple[int, int]) -> onnx.ModelProto:
    free = model if source.batch is None else with_free_batch(model, source.batch)
    apart = keeps_apart(free, size)
    if apart or (apart is None and source.batch is None):
        return free
    if source.batch in {None, 1}:
        return one_by_one(model)
    raise ExportError(
        f"it takes exactly {source.batch} images at a time, and cannot be freed from that: export it for one image, or "
        "with dynamic=True"
    )


def _stride(metadata: Metadata, layout: Layout, fixed: tuple[int, int] | None) -> int | None:
    """A fixed input needs no padding to a stride, and so one that divides it will do."""
    stride = metadata.stride or layout.stride
    if fixed is None:
        return stride
    return next(each for each in (stride or _USUAL_STRIDE, _USUAL_STRIDE, 1) if max(fixed) % each == 0)


def _notes(metadata: Metadata, layout: Layout) -> tuple[str, ...]:
    if layout.kind is not Kind.END_TO_END or metadata.suppressed_from is None:
        return ()
    return (
        f"exported with suppression inside: detections below {metadata.suppressed_from:g} never appear, and overlaps "
        "were suppressed by the export's rule, not MegaDetector's",
    )
