"""Dot-product attention, written out: softmax(scale Q K^T + mask) V."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convsv_cli.lipschitz.dependencies import asks_for_infinities, passes
from convsv_cli.model.graph import Graph, Node, UnknownValueError

VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze"))
REGROUPING = VIEWS | {"Flatten", "Expand"}
"""Operators that may leave matrices as they are, and in their order."""
ASKING = frozenset(("Not", "Cast", "ReduceMax", "ReduceMin", "Expand", "Identity", "Unsqueeze"))
"""Operators that say of several entries whether one, or all, are such."""
MOST_STEPS = 16  # between a product and its softmax
MATRIX = 2  # axes


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What a product of a softmax and a matrix is.

    Attributes:
        query: Q, [..., queries, d].
        key: K^T, [..., d, keys].
        value: V, [..., keys, e].
        factor: the largest absolute value of what Q K^T is multiplied by.
    """

    query: str
    key: str
    value: str
    factor: float


def attention_at(node: Node, graph: Graph) -> Attention | None:
    """The attention whose result a MatMul is; None where it is none.

    Masks, and what else is added, must not vary with the network's input.

    Args:
        node: of the graph.
        graph: at one input size.
    """
    softmax = softmax_before(node, graph)
    found = None if softmax is None else _scores(softmax.inputs[0], graph)
    if found is None:
        return None
    (product, factor), value = found, node.inputs[1]
    ranks = [len(graph.shapes.get(name) or ()) for name in (*product.inputs, value)]
    if min(ranks) < MATRIX:
        return None
    return Attention(query=product.inputs[0], key=product.inputs[1], value=value, factor=factor)


def _regroups(node: Node, graph: Graph) -> bool:
    """Whether a node gives the same matrices in the same order, in a batch of another shape."""
    return node.op in REGROUPING and _same_matrix(node.inputs[0], node.outputs[0], graph)


def softmax_before(node: Node, graph: Graph, *, guarded: bool = True) -> Node | None:
    """The softmax along rows whose product with a tensor that varies a MatMul is; None where it is none.

    Args:
        node: of the graph.
        graph: at one input size.
        guarded: whether rows in which a mask leaves nothing may be zeros instead.
    """
    if node.op != "MatMul" or len(node.inputs) != MATRIX or node.inputs[1] in graph.constants:
        return None
    softmax = graph.makers.get(_before(node.inputs[0], graph, guarded=guarded))
    if softmax is None or softmax.op != "Softmax":
        return None
    shape, axis = graph.shapes.get(softmax.inputs[0]), softmax.attribute("axis", -1)
    return softmax if shape is not None and axis in (-1, len(shape) - 1) else None


def _before(name: str, graph: Graph, *, guarded: bool) -> str:
    """What a tensor is before it was passed on, or NaN in it was replaced by zeros."""
    for _ in range(MOST_STEPS):
        node = graph.makers.get(name)
        if node is not None and (passes(node, graph) or _regroups(node, graph)):
            name = node.inputs[0]
        elif guarded and node is not None and node.op == "Where" and _guards(node, graph):
            name = next(each for each in node.inputs[1:] if each not in graph.constants)
        else:
            return name
    return name


def _guards(node: Node, graph: Graph) -> bool:
    """Whether a Where puts zeros in place of what is no number: rows in which a mask leaves nothing.

    It asks for NaN in the weights, or for infinities in the scores, which are what they are replaced in.
    """
    fixed = [name for name in node.inputs[1:] if name in graph.constants]
    condition = graph.makers.get(node.inputs[0])
    for _ in range(MOST_STEPS):
        if condition is None or condition.op not in ASKING:
            break
        condition = graph.makers.get(condition.input(0))
    if len(fixed) != 1 or condition is None or not asks_for_infinities(condition, graph.constants):
        return False
    weights = next(name for name in node.inputs[1:] if name not in graph.constants)
    if not any(name in _of_weights(weights, graph) for name in condition.inputs):
        return False
    try:
        return not graph.constants[fixed[0]]().read().any()
    except UnknownValueError:
        return False


def _of_weights(name: str, graph: Graph) -> frozenset[str]:
    """The weights of an attention and its scores, by all names that these have."""
    found = {name}
    for _ in range(MOST_STEPS):
        node = graph.makers.get(name)
        if node is None or not (node.op == "Softmax" or passes(node, graph) or _regroups(node, graph)):
            break
        name = node.inputs[0]
        found.add(name)
    return frozenset(found)


def _scores(name: str, graph: Graph) -> tuple[Node, float] | None:
    """The product of two tensors that scores are, times what, but for masks."""
    factor = 1.0
    for _ in range(MOST_STEPS):
        node = graph.makers.get(name)
        if node is None:
            return None
        varying = [each for each in node.inputs if each and each not in graph.constants]
        if node.op == "MatMul" and len(varying) == MATRIX:
            return node, factor
        if len(varying) != 1 or not _same_matrix(varying[0], name, graph):
            return None
        step = _factor(node, graph)
        if step is None:
            return None
        factor, name = factor * step, varying[0]
    return None


def _factor(node: Node, graph: Graph) -> float | None:
    """What a step from the product to the softmax multiplies by, at most; None for any other."""
    if passes(node, graph) or node.op in VIEWS or node.op in ("Add", "Sub", "Where", "Neg"):
        return None if node.op == "Where" and node.inputs[0] not in graph.constants else 1.0
    if node.op not in ("Mul", "Div"):
        return None
    constant = next((name for name in node.inputs if name in graph.constants), "")
    if node.op == "Div" and constant != node.input(1):
        return None
    try:
        values = np.abs(graph.constants[constant]().read().astype(np.float64))
    except (UnknownValueError, KeyError):
        return None
    if not values.size or (node.op == "Div" and not values.all()):
        return None
    return float((1 / values if node.op == "Div" else values).max()) * (1 + 1e-15)


def _same_matrix(before: str, after: str, graph: Graph) -> bool:
    """Whether two tensors have the same last two axes, and as many of these matrices."""
    shapes = [graph.shapes.get(name) for name in (before, after)]
    known = [[size or 0 for size in shape] for shape in shapes if shape is not None and None not in shape]
    if len(known) < MATRIX or min(map(len, known)) < MATRIX:
        return False
    first, second = known
    return first[-MATRIX:] == second[-MATRIX:] and math.prod(first) == math.prod(second)
