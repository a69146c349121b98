"""What graphs write out in primitives, as the operators that it is: normalization, norms, Softmax.

A sub-graph is known by what it computes, not by how it is drawn: `forms` are the normal forms of tensors,
`patterns` what they compute. Tensors that others use stay, with the nodes that make them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.dependencies import needs, relevant
from convsv_cli.lipschitz.scalar.expressions import X
from convsv_cli.lipschitz.scalar.operators import COLLAPSED
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.attention import attention_at
from convsv_cli.lipschitz.written_out.exponentials import Exponential
from convsv_cli.lipschitz.written_out.forms import CONSTANT, Form
from convsv_cli.lipschitz.written_out.patterns import Length, Radial, Reader
from convsv_cli.model.graph import Constant, Dims, Graph, Names, Node

RADIAL, LENGTH, ATTENTION = "convsv.Radial", "convsv.Length", "convsv.Attention"
"""A vector along some axes times a function of its length, and the length of one: see `rules.radial`; and
softmax(c Q K^T + mask) V, of Q, K^T and V: see `rules.attention`."""
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


def read_back(graph: Graph) -> Graph:
    """The same computation, in which operators stand for what is written out in primitives.

    As it is where that takes more steps than the model may.

    Args:
        graph: at one input size.
    """
    if not any(node.op.startswith(STARTS) for node in graph.main.nodes):
        return graph
    with suppress(LimitError):
        read = _Writer(graph).graph()
        return _attending(read)
    return graph


def _attending(graph: Graph) -> Graph:
    """With one node for each attention whose parts nothing else uses, or which they outlive."""
    outputs, kept = set(graph.main.outputs), list[Node]()
    for node in reversed(graph.main.nodes):
        found = attention_at(node, graph) if outputs.intersection(node.outputs) else None
        if found is not None:
            node = Node(  # noqa: PLW2901
                op=ATTENTION,
                name=node.name,
                inputs=(found.query, found.key, found.value),
                outputs=node.outputs,
                attributes={"factor": found.factor, "ops": ("MatMul", "Softmax", "MatMul")},
            )
        elif not outputs.intersection(node.outputs):
            continue
        kept.append(node)
        outputs.update(needs(node))
    return replace(graph, main=replace(graph.main, nodes=tuple(reversed(kept))))


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._algebra = graph, Algebra(graph)
        self._reader = Reader(self._algebra)
        self._shapes, self._dtypes = dict(graph.shapes), dict(graph.dtypes)
        self._constants = dict(graph.constants)
        nodes = graph.main.nodes
        taken = {name for node in nodes for name in (node.name, *node.inputs, *node.outputs)}
        self._names = Names({*taken, *graph.inputs, *graph.constants, *graph.shapes})

    def graph(self) -> Graph:
        """From the last node to the first, so that the largest is found; what nobody needs is left out."""
        varying = {id(node) for node in relevant(self._graph)}
        needed, kept, changed = set(self._graph.main.outputs), list[Node](), False
        for node in reversed(self._graph.main.nodes):
            if changed and not needed.intersection(node.outputs):
                continue
            nodes = self._replaced(node) if node.op in ENDS and id(node) in varying else ()
            changed = changed or bool(nodes)
            for each in reversed(nodes or (node,)):
                kept.append(each)
                needed.update(needs(each))
        if not changed:
            return self._graph
        main = replace(self._graph.main, nodes=tuple(reversed(kept)))
        return replace(
            self._graph, main=main, shapes=self._shapes, dtypes=self._dtypes, constants=self._constants
        )

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
