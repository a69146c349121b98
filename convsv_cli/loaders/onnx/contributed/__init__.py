"""Operators that onnxruntime contributes, read as ONNX's own.

The only place that knows them. What onnxruntime, Olive and optimum save after they optimised a graph has such
nodes; they are written as they were before they were fused, so that all that follows is about ONNX's own
operators: shapes, constants, the table of layers, and bounds.

Source: onnxruntime, docs/ContribOperators.md, and the schemas of its version 1.32.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from convsv_cli.loaders.onnx.attributes import BLOCKED, CONTRIBUTED, LAST, MICROSOFT
from convsv_cli.loaders.onnx.contributed import (
    activations,
    attention,
    convolution,
    movement,
    normalization,
    products,
    quantised,
    rotary,
)
from convsv_cli.loaders.onnx.contributed.expansion import Expansion, Known
from convsv_cli.loaders.onnx.history import standard_opset
from convsv_cli.loaders.onnx.scopes import bodies, constant_tensor
from convsv_cli.loaders.onnx.shapes import REAL, dims, has_shape
from convsv_cli.loaders.onnx.signatures import UNREAD, UnreadableNodeError, check_signature
from convsv_cli.loaders.onnx.tensors import Stored, head
from convsv_cli.model.graph import Names

MISFIT = "whose attributes and inputs do not fit together"
FAMILIES = (activations, attention, convolution, movement, normalization, products, quantised, rotary)
RULES: Mapping[tuple[str, str], Callable[[Expansion], None]] = {
    **{(MICROSOFT, op): rule for family in FAMILIES for op, rule in family.RULES.items()},
    **{(LAST, op): rule for op, rule in convolution.INTERNAL.items()},
    **{key: convolution.blocked for key in CONTRIBUTED if key[0] == BLOCKED},
    ("", "SimplifiedLayerNormalization"): normalization.RULES["SimplifiedLayerNormalization"],
}
"""By domain and operator; onnxruntime has one of its own in ONNX's domain."""


def read(model: ModelProto) -> None:
    """Write nodes that onnxruntime contributes as ONNX's own, in place.

    One that cannot be read exactly stays as it is, with the attribute `UNREAD`, which says why not; what a
    file says there is not believed.

    Args:
        model: without local functions.
    """
    graphs = list(_graphs(model.graph))
    if not any(_rule(node) for graph in graphs for node in graph.node):
        return
    nodes = [node for graph in graphs for node in graph.node]
    outputs = {value.name for graph in graphs for value in graph.output}
    opset = standard_opset({entry.domain: entry.version for entry in model.opset_import})
    used = frozenset(outputs.union(*(node.input for node in nodes)))
    stored = {head(tensor).name for graph in graphs for tensor in _initializers(graph)}
    fed = {value.name for graph in graphs for value in graph.input}
    names = Names(used | stored | fed | {name for node in nodes for name in node.output})
    base = Known(
        opset=opset, real=_real(graphs), tensors=ChainMap(), ranks=ChainMap(), used=used, names=names
    )
    _read(model.graph, base)


def _rule(node: NodeProto) -> Callable[[Expansion], None] | None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return RULES.get((domain, node.op_type))


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for _, body in bodies(node):
            yield from _graphs(body)


def _initializers(graph: GraphProto) -> list[Stored]:
    return [*graph.initializer, *graph.sparse_initializer]


def _real(graphs: list[GraphProto]) -> np.dtype:
    """The type that most of the stored tensors and inputs of numbers have."""
    kinds = Counter(head(tensor).data_type for graph in graphs for tensor in _initializers(graph))
    kinds.update(value.type.tensor_type.elem_type for graph in graphs for value in graph.input)
    found = [(count, -kind) for kind, count in kinds.items() if kind in REAL]
    return tensor_dtype_to_np_dtype(-max(found)[1] if found else TensorProto.FLOAT)


def _read(graph: GraphProto, outer: Known) -> None:
    """A graph and the bodies in it; those see its tensors, unless they have others of the same names."""
    known = replace(outer, tensors=ChainMap({}, outer.tensors), ranks=ChainMap({}, outer.ranks))
    for value in graph.input:
        known.tensors[value.name], known.ranks[value.name] = (
            None,
            len(dims(value)) if has_shape(value) else None,
        )
    for tensor in _initializers(graph):
        known.tensors[head(tensor).name], known.ranks[head(tensor).name] = tensor, len(tensor.dims)
    result: list[NodeProto] = []
    for node in graph.node:
        for _, body in bodies(node):
            _read(body, known)
        known.tensors.update(dict.fromkeys(node.output))
        known.ranks.update(dict.fromkeys(node.output))
        held = constant_tensor(node)
        if held is not None:
            known.tensors[node.output[0]], known.ranks[node.output[0]] = held, len(held.dims)
        result.extend(_written(node, known, graph))
    del graph.node[:]
    graph.node.extend(result)


def _written(node: NodeProto, known: Known, graph: GraphProto) -> list[NodeProto]:
    """The nodes that one is read as, of which the constants join the graph."""
    rule = _rule(node)
    if rule is None:
        return [node]
    kept = [each for each in node.attribute if each.name != UNREAD]
    del node.attribute[:]
    node.attribute.extend(kept)
    try:
        check_signature(node, known.opset)
        expansion = Expansion(node, known)
        rule(expansion)
    except (UnreadableNodeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        reason = str(error) if isinstance(error, UnreadableNodeError) else MISFIT
        node.attribute.append(onnx.helper.make_attribute(UNREAD, reason))
        return [node]
    graph.initializer.extend(expansion.constants)
    return expansion.nodes
