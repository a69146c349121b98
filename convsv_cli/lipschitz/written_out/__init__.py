"""What graphs write out in primitives, as the operators that it is: normalization, norms, Softmax, extremes.

A sub-graph is known by what it computes, not by how it is drawn: `forms` are the normal forms of tensors,
`patterns` what they compute. Tensors that others use stay, with the nodes that make them. Branches of If are
read as the graph around them is, whose tensors they see; what Loop and Scan repeat has no bound anyhow, and
stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.dependencies import by_chance, needs, passes, sources
from convsv_cli.lipschitz.scalar.expressions import X
from convsv_cli.lipschitz.scalar.operators import COLLAPSED
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.exponentials import Exponential
from convsv_cli.lipschitz.written_out.forms import CONSTANT, Form
from convsv_cli.lipschitz.written_out.heads import attending, within
from convsv_cli.lipschitz.written_out.patterns import Length, Radial, Reader
from convsv_cli.model.graph import Body, Constant, Dims, Graph, Names, Node

RADIAL, LENGTH = "convsv.Radial", "convsv.Length"
"""A vector along some axes times a function of its length, and the length of one: see `rules.radial`."""
STARTS = ("Reduce", "GlobalA", "Sqrt", "Pow", "Softmax", "LogSoftmax")
"""How operators begin without which nothing is written out."""
ENDS = frozenset(
    [
        "Add",
        "Sub",
        "Sum",
        "Mul",
        "Div",
        "Reciprocal",
        "Sqrt",
        "Pow",
        "Exp",
        "Log",
        "ReduceLogSum",
        "Max",
        "Clip",
    ]
)
"""Operators that what is written out ends with."""
BELOW = {"Less": True, "LessOrEqual": True, "Greater": False, "GreaterOrEqual": False}
"""Comparisons, and whether they are true where the first is the smaller; equal ones are equal results."""


def read_back(graph: Graph) -> Graph:
    """The same computation, in which operators stand for what is written out in primitives.

    As it is where that takes more steps than the model may.

    Args:
        graph: at one input size.
    """
    if not any(node.op.startswith(STARTS) for body in graph.main.all_bodies() for node in body.nodes):
        return graph
    with suppress(LimitError):
        read = _Writer(graph).graph()
        return attending(read)
    return graph


def _moving(body: Body, varying: set[str]) -> Iterator[Node]:
    """The nodes of a body that vary where these tensors do, and those in their branches."""
    for node in body.nodes:
        if not varying.intersection(needs(node)) and not by_chance(node):
            continue
        varying.update(filter(None, node.outputs))
        yield node
        for _, inner in node.bodies:
            yield from _moving(inner, varying)


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._algebra = graph, Algebra(graph)
        self._reader = Reader(self._algebra)
        self._shapes, self._dtypes = dict(graph.shapes), dict(graph.dtypes)
        self._constants = dict(graph.constants)
        nodes = [node for body in graph.main.all_bodies() for node in body.nodes]
        taken = {name for node in nodes for name in (node.name, *node.inputs, *node.outputs)}
        self._names = Names({*taken, *graph.inputs, *graph.constants, *graph.shapes})
        self._varying = {id(node) for node in _moving(graph.main, set(sources(graph)))}

    def graph(self) -> Graph:
        """With the operators that are found, and without what nobody needs."""
        main = self._body(self._graph.main)
        if main is self._graph.main:
            return self._graph
        return replace(
            self._graph, main=main, shapes=self._shapes, dtypes=self._dtypes, constants=self._constants
        )

    def _body(self, body: Body) -> Body:
        """From the last node to the first, so that the largest is found."""
        needed, kept, changed = set(body.outputs), list[Node](), False
        for node in reversed(body.nodes):
            if changed and not needed.intersection(node.outputs):
                continue
            nodes = self._replaced(node) if node.op in ENDS and id(node) in self._varying else ()
            nodes = nodes or (within(node, self._body),)
            changed = changed or nodes[0] is not node
            for each in reversed(nodes):
                kept.append(each)
                needed.update(needs(each))
        return replace(body, nodes=tuple(reversed(kept))) if changed else body

    def _replaced(self, node: Node) -> tuple[Node, ...]:
        """What a node's result is, in operators; none where it is nothing that is known."""
        if len(node.outputs) != 1:
            return ()
        found = self._reader.read(node.outputs[0])
        if isinstance(found, Radial):
            return self._radial(found, node)
        if isinstance(found, Length):
            return self._length(found, node)
        return () if found is None else self._exponential(found, node)

    def _radial(self, found: Radial, node: Node) -> tuple[Node, ...]:
        """The core, with the constant that it is multiplied by, then further factors and what is added."""
        levels = self._levels(found.level)
        if levels is None:
            return ()
        scales = found.scales
        attributes = {
            "function": found.function,
            "axes": found.axes,
            "square": found.square,
            "centred": int(found.centred),
            "ops": ("Normalization",),
        }
        steps = [(RADIAL, (found.source, scales[0] if scales else "", *found.others), attributes)]
        steps.extend(("Mul", ("", name), {}) for name in scales[1:])
        steps.extend(levels)
        return self._chain(steps, node)

    def _levels(self, level: Form) -> list[tuple[str, tuple[str, ...], dict[str, object]]] | None:
        """Steps that add constants; None where one is no tensor of the graph."""
        steps: list[tuple[str, tuple[str, ...], dict[str, object]]] = []
        for monomial, coefficient in level.terms:
            if not monomial:
                steps.append((COLLAPSED, ("",), {"expression": X + coefficient, "ops": ("Add",)}))
            elif len(monomial) == 1 and monomial[0].kind == CONSTANT and abs(coefficient) == 1:
                steps.append(("Add" if coefficient > 0 else "Sub", ("", monomial[0].name), {}))
            else:
                return None
        return steps

    def _length(self, found: Length, node: Node) -> tuple[Node, ...]:
        attributes = {
            "axes": found.axes,
            "squares": found.squares,
            "centred": int(found.centred),
            "ops": ("Norm",),
        }
        function = {"expression": found.function, "ops": (node.op,)}
        return self._chain([(LENGTH, found.sources, attributes), (COLLAPSED, ("",), function)], node)

    def _exponential(self, found: Exponential, node: Node) -> tuple[Node, ...]:
        if found.function is not None:
            attributes = {
                "function": found.function,
                "axes": found.axes,
                "shifted": int(found.shifted),
                "ops": ("Softmax",),
            }
            return self._chain([(found.op, (found.source,), attributes)], node)
        if found.op != "ReduceLogSumExp":
            return self._chain([(found.op, (found.source,), {"axis": found.axes[0]})], node)
        name, axes = self._names.new(f"{node.outputs[0]}.axes"), np.array(found.axes, np.int64)
        constant = Constant(name=name, shape=axes.shape, dtype="int64", identity=name, read=lambda: axes)
        self._constants[name] = lambda: constant
        self._shapes[name], self._dtypes[name] = axes.shape, "int64"
        return self._chain([(found.op, (found.source, name), {})], node)

    def _chain(
        self, steps: list[tuple[str, tuple[str, ...], dict[str, object]]], node: Node
    ) -> tuple[Node, ...]:
        """Nodes one after the other, the empty first input of each the result of that before it."""
        nodes, source, output = list[Node](), "", node.outputs[0]
        for i, (op, inputs, attributes) in enumerate(steps):
            last = i == len(steps) - 1
            result = output if last else self._tensor(output)
            name = node.name if last else self._names.new(f"{node.name}.core")
            named = (inputs[0] or source, *inputs[1:])
            nodes.append(Node(op=op, name=name, inputs=named, outputs=(result,), attributes=attributes))
            source = result
        return tuple(nodes)

    def _tensor(self, like: str) -> str:
        """A new one, of the same shape and type."""
        name = self._names.new(f"{like}.core")
        shape: Dims | None = self._shapes.get(like)
        if shape is not None:
            self._shapes[name] = shape
        self._dtypes[name] = self._dtypes.get(like, "float")
        return name


def extremes(graph: Graph) -> Graph:
    """The same computation with `Max` and `Min` for choices that make these.

    Args:
        graph: at one input size.
    """
    makers = graph.makers
    if not any(node.op in BELOW for node in makers.values()):
        return graph
    return replace(graph, main=_of_body(graph.main, graph))


def _of_body(body: Body, graph: Graph) -> Body:
    nodes = (
        replace(node, bodies=tuple((key, _of_body(inner, graph)) for key, inner in node.bodies))
        if node.bodies
        else _extreme(node, graph)
        for node in body.nodes
    )
    return replace(body, nodes=tuple(nodes))


def _extreme(node: Node, graph: Graph) -> Node:
    if node.op != "Where" or len(node.inputs) != 3:
        return node
    test, inverted = graph.makers.get(node.inputs[0]), False
    while test is not None and test.op == "Not":
        test, inverted = graph.makers.get(test.input(0)), not inverted
    if test is None or test.op not in BELOW or len(test.inputs) != 2:
        return node
    first, second = (_origin(name, graph) for name in test.inputs)
    chosen, other = (_origin(name, graph) for name in node.inputs[1:])
    if {first, second} != {chosen, other} or chosen == other:
        return node
    smaller = (chosen == first) == (BELOW[test.op] != inverted)
    return replace(node, op="Min" if smaller else "Max", inputs=node.inputs[1:])


def _origin(name: str, graph: Graph) -> str:
    """The tensor that this one is, under another name."""
    node = graph.makers.get(name)
    while node is not None and passes(node, graph) and node.op != "Dropout":
        name = node.inputs[0]
        node = graph.makers.get(name)
    return name
