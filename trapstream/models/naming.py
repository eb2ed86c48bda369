"""Names inside a graph, kept apart from those of the nodes that are put around it."""

import onnx


def prefixed(graph: onnx.GraphProto, prefix: str) -> onnx.GraphProto:
    """A copy in which every name begins with `prefix`, those inside nested graphs included.

    (onnx.compose's function of that kind forgets what a nested graph takes from the initialisers around it.)
    """
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    add_prefix(copy, prefix)
    return copy


def add_prefix(graph: onnx.GraphProto, prefix: str) -> None:
    """The same, in place: weights of half a gigabyte are not copied for a name."""
    for named in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        named.name = prefix + named.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = prefix + sparse.values.name
        sparse.indices.name = prefix + sparse.indices.name
    for node in graph.node:
        node.name = prefix + node.name if node.name else ""
        node.input[:] = [prefix + name if name else name for name in node.input]  # no name: an input left out
        node.output[:] = [prefix + name if name else name for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                add_prefix(inner, prefix)
