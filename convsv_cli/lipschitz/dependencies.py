"""What depends on what, what does not vary, and the tensors that every path passes through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from convsv_cli.lipschitz.operation import Operation, Tensor
from convsv_cli.lipschitz.scalar.operators import COLLAPSED
from convsv_cli.model.graph import Body, Constant, Graph, Node, UnknownValueError

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
REAL = frozenset(("float", "double", "float16", "bfloat16"))
PASSED = frozenset(("Identity", "Cast", "Dropout"))
SHAPES = ("Shape", "Size")
COUNTING = frozenset(("NonZero", "Compress", "Unique", "NonMaxSuppression", "Loop", "Scan", "StringSplit"))
"""What has as many results as its input's values say."""
SIZED = {"Resize": 1, "Upsample": 1, "OneHot": 1, "Range": 0}
"""What real inputs give its size to, by the index of the first of these."""


def real(graph: Graph, tensor: str) -> bool:
    """Whether a tensor has real entries; those of unknown type are taken for such, which proves no less."""
    return graph.dtypes.get(tensor, "float") in REAL


def passes(node: Node, graph: Graph) -> bool:
    """Whether a node gives its input as it is, as Cast to whole numbers and Dropout in training do not.

    Args:
        node: of the graph.
        graph: with the types of its tensors.
    """
    if node.op not in PASSED or not all(real(graph, name) for name in (node.input(0), node.outputs[0])):
        return False
    if not node.input(2):
        return True
    try:  # whether a Dropout is in training
        return not graph.constants[node.input(2)]().read().any()
    except (UnknownValueError, KeyError):
        return False


def sources(graph: Graph) -> tuple[str, ...]:
    """The inputs that a perturbation is of: the real ones that are not held fixed."""
    return tuple(name for name in graph.inputs if name not in graph.held and real(graph, name))


def needs(node: Node) -> tuple[str, ...]:
    """What a node's result depends on, each once: its inputs, and what its bodies take from outside."""
    names = [name for name in node.inputs if name]
    for _, body in node.bodies:
        names.extend(_free(body))
    return tuple(dict.fromkeys(names))


def by_chance(node: Node) -> bool:
    """Whether a node draws random numbers, or one in its bodies does."""
    return node.op in RANDOM or any(by_chance(inner) for _, body in node.bodies for inner in body.nodes)


def branches(node: Node) -> bool:
    """Whether it is an If that has all its parts; another one is an operator without a rule."""
    bodies = dict(node.bodies)
    whole = any(node.inputs[:1]) and bodies.keys() == {"then_branch", "else_branch"}
    return node.op == "If" and whole and all(len(b.outputs) == len(node.outputs) for b in bodies.values())


def _free(body: Body) -> Iterator[str]:
    inside = {name for node in body.nodes for name in node.outputs}
    for node in body.nodes:
        yield from (name for name in needs(node) if name not in inside)
    yield from (name for name in body.outputs if name not in inside)


def consumed(body: Body) -> set[str]:
    """All tensors that some node, or what lies around the body, takes."""
    names = set(body.outputs)
    for node in body.nodes:
        names.update(node.inputs)
        for _, inner in node.bodies:
            names |= consumed(inner)
    return names


def real_outputs(graph: Graph) -> tuple[str, ...]:
    """The outputs that a Lipschitz constant is of, each once."""
    return tuple(dict.fromkeys(name for name in graph.main.outputs if real(graph, name)))


def relevant(graph: Graph) -> tuple[Node, ...]:
    """The nodes between the real inputs, or chance, and the real outputs, in order."""
    varying = set(sources(graph))
    reached = []
    for node in graph.main.nodes:
        if varying.intersection(needs(node)) or by_chance(node):
            varying.update(filter(None, node.outputs))
            reached.append(node)
    return wanted(reached, real_outputs(graph))


def held(graph: Graph, varying: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes of which those that vary depend on results, but which do not vary themselves, in order.

    Args:
        graph: of the network.
        varying: its `relevant` nodes.
    """
    those = {id(node) for node in varying}
    return tuple(n for n in wanted(graph.main.nodes, real_outputs(graph)) if id(n) not in those)


def wanted(nodes: Sequence[Node], outputs: Iterable[str]) -> tuple[Node, ...]:
    """Those of the nodes that the outputs depend on, in order."""
    names, kept = set(outputs), []
    for node in reversed(nodes):
        if names.intersection(node.outputs):
            names.update(needs(node))
            kept.append(node)
    return tuple(reversed(kept))


def ending_at(graph: Graph, tensor: str) -> Graph:
    """The graph with a tensor as its output, and with no more nodes than that depends on."""
    return replace(graph, main=Body(nodes=wanted(graph.main.nodes, (tensor,)), outputs=(tensor,)))


def bottlenecks(graph: Graph, nodes: Sequence[Node]) -> frozenset[str]:
    """Tensors that every path from the inputs to the outputs passes; `nodes` are the `relevant` ones.

    Those are the tensors through which as many paths lead as there are. Cost: O(edges) additions of numbers
    of as many bits as there are nodes.
    """
    inner = {name for node in nodes for name in node.outputs if name} | set(sources(graph))
    into = Counter(dict.fromkeys(sources(graph), 1))
    for node in nodes:
        count = sum(into[name] for name in needs(node) if name in inner)
        into.update(dict.fromkeys(set(node.outputs) - {""}, count))
    onward = Counter({name: 1 for name in real_outputs(graph) if name in inner})
    for node in reversed(nodes):
        count = sum(onward[name] for name in set(node.outputs) - {""})
        for name in needs(node):
            if name in inner:
                onward[name] += count
    whole = sum(into[name] for name in real_outputs(graph) if name in inner)
    return frozenset(name for name in inner if into[name] * onward[name] == whole and whole)


def has_static_shape(operation: Operation, inputs: Sequence[Tensor]) -> bool:
    """Whether the shapes of results do not vary with values; nothing is known of foreign operators.

    Args:
        operation: the node.
        inputs: all that its results depend on.
    """
    op = operation.node.op
    sizing = operation.inputs[SIZED[op] :] if op in SIZED else ()
    sized = any(tensor is not None and not tensor.constant for tensor in sizing)
    unknown = op in COUNTING or "." in op.removeprefix("convsv.")
    return not (unknown or sized or any(tensor.discrete or not tensor.static_shape for tensor in inputs))


def asks_for_infinities(node: Node, constants: Mapping[str, Callable[[], Constant]]) -> bool:
    """Whether a node says where its input is infinite, or no number.

    Args:
        node: of the graph.
        constants: of it, by name.
    """
    if node.op in ("IsInf", "IsNaN"):
        return True
    stored = [name for name in node.inputs if name in constants]
    if node.op != "Equal" or len(stored) != 1:
        return False
    try:
        values = constants[stored[0]]().read()
    except UnknownValueError:
        return False
    return values.dtype.kind == "f" and values.size == 1 and bool(np.isinf(values).all())


def is_constant(
    node: Node,
    inputs: Sequence[Tensor],
    constants: Mapping[str, Callable[[], Constant]],
    *,
    bounded: bool = False,
) -> bool:
    """Whether a node's result does not vary: that of constants, or a shape, which the input size decides.

    Nor does it vary where a tensor is infinite, or no number, if all before it has a bound: a mask alone has
    made it so. One operator without is enough for the opposite: log x is no number for x below zero.

    Args:
        node: of the graph.
        inputs: all that its results depend on.
        constants: of the graph, by name.
        bounded: whether everything before the node has a bound, of whatever it is given.
    """
    if (
        bounded
        and asks_for_infinities(node, constants)
        and all(math.isfinite(tensor.bound) and not tensor.discrete for tensor in inputs)
    ):
        return True
    if node.op in SHAPES and all(tensor.static_shape for tensor in inputs):
        return True
    known = "." not in node.op or node.op == COLLAPSED
    return all(tensor.constant for tensor in inputs) and not by_chance(node) and known


def possible(condition: Tensor, node: Node) -> Iterable[Body]:
    """The branches of an If that may be taken.

    Args:
        condition: which of them is.
        node: the If.
    """
    branches: Mapping[str, Body] = dict(node.bodies)
    if condition.read is not None:
        try:
            taken = bool(condition.read().ravel()[0])
        except UnknownValueError:
            return branches.values()
        return [branches["then_branch" if taken else "else_branch"]]
    return branches.values()
