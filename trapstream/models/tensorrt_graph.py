"""A completed graph in the form that TensorRT takes. The numbers stay the same."""

import onnx
from onnx import TensorProto, helper

from trapstream.models.complete import INPUT

_DATA_DEPENDENT = frozenset({"NonMaxSuppression", "NonZero", "Unique", "Compress"})
"""Operations whose output has as many rows as there is to tell: the server must wait to learn how many."""


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose pixels become floats before anything else happens to them.

    TensorRT knows uint8 at the border of a network only: whatever takes such a tensor must be a cast to float. The
    graph of a bundle transposes bytes, which costs a CPU least. ValueError where pixels go elsewhere.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = {node.output[0]: node for node in made.graph.node if node.output}
    readers = [node for node in made.graph.node if INPUT in node.input]
    if all(node.op_type == "Cast" for node in readers):
        return made
    casts = [node for node in made.graph.node if node.op_type == "Cast" and _comes_from(node.input[0], nodes)]
    if len(readers) != 1 or readers[0].op_type != "Transpose" or len(casts) != 1:
        raise ValueError(f"the graph's {INPUT} do not go through one Transpose and one Cast; import the model again")
    (transpose,), (cast,) = readers, casts
    kind = next(attribute.i for attribute in cast.attribute if attribute.name == "to")
    last, floats = cast.output[0], f"{INPUT}/float"
    transpose.input[0] = floats
    transpose.output[0] = last
    made.graph.node.remove(cast)
    made.graph.node.insert(0, helper.make_node("Cast", [INPUT], [floats], to=kind))
    onnx.checker.check_model(made)
    return made


def data_dependent(model: onnx.ModelProto) -> list[str]:
    """The kinds of operations in `model` that keep a run from being recorded as a CUDA graph."""
    return sorted({node.op_type for node in model.graph.node} & _DATA_DEPENDENT)


def input_dims(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """Batch, height, width and channels of the graph's pixels, None where they vary. ValueError for other inputs."""
    found = [value for value in model.graph.input if value.name == INPUT]
    if len(found) != 1 or found[0].type.tensor_type.elem_type != TensorProto.UINT8:
        raise ValueError(f"a completed graph takes {INPUT} as uint8")
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in found[0].type.tensor_type.shape.dim)


def _comes_from(name: str, nodes: dict[str, onnx.NodeProto]) -> bool:
    """Whether a tensor is the pixels, moved and nothing else."""
    while name != INPUT:
        node = nodes.get(name)
        if node is None or node.op_type != "Transpose":
            return False
        name = node.input[0]
    return True
