"""One node for each attention that is written out, by products or by distances, in bodies too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from convsv_cli.lipschitz.dependencies import branches, needs
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.attention import attention_at, softmax_before
from convsv_cli.lipschitz.written_out.distances import Distances, distances_at
from convsv_cli.model.graph import Body, Graph, Names, Node

ATTENTION, DISTANCES = "convsv.Attention", "convsv.L2Attention"
"""softmax(c Q K^T + mask) V, of Q, K^T and V: see `rules.attention`; softmax(mask - c |q_i - q_j|^2) V, of Q
and V, or of Q alone: see `rules.distances`."""


def attending(graph: Graph) -> Graph:
    """With nodes for attention whose parts nothing else uses, or which they outlive.

    Args:
        graph: at one input size.

    Raises:
        LimitError: the model's steps are used up.
    """
    heads = _Heads(graph)
    main = heads.body(graph.main)
    return replace(graph, main=main, shapes=heads.shapes, dtypes=heads.dtypes)


def within(node: Node, change: Callable[[Body], Body]) -> Node:
    """A node with its branches changed, where it has some.

    Args:
        node: any.
        change: gives the body that is there instead, or the same one.
    """
    if not branches(node):
        return node
    bodies = tuple((name, change(body)) for name, body in node.bodies)
    same = all(new is old for (_, new), (_, old) in zip(bodies, node.bodies, strict=True))
    return node if same else replace(node, bodies=bodies)


class _Heads:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.shapes, self.dtypes = dict(graph.shapes), dict(graph.dtypes)

    @cached_property
    def _algebra(self) -> Algebra:
        return Algebra(self._graph)

    @cached_property
    def _names(self) -> Names:
        nodes = [node for body in self._graph.main.all_bodies() for node in body.nodes]
        return Names({name for node in nodes for name in (node.name, *node.inputs, *node.outputs)})

    def body(self, body: Body) -> Body:
        """From the last node to the first; what nobody needs any more is left out."""
        outputs, kept = set(body.outputs), list[Node]()
        for node in reversed(body.nodes):
            if not outputs.intersection(node.outputs):
                continue
            for new in reversed(self._read(node) or (within(node, self.body),)):
                kept.append(new)
                outputs.update(needs(new))
        return replace(body, nodes=tuple(reversed(kept)))

    def _read(self, node: Node) -> tuple[Node, ...]:
        found = attention_at(node, self._graph)
        if found is not None:
            return (_made(node, ATTENTION, (found.query, found.key, found.value), found.factor),)
        if softmax_before(node, self._graph) is None:
            return ()
        by_distances = distances_at(node, self._graph, self._algebra)
        return () if by_distances is None else self._by_distances(node, by_distances)

    def _by_distances(self, node: Node, found: Distances) -> tuple[Node, ...]:
        """What is done to V is done to the result where V is Q: the weights of a token add up to 1."""
        if not found.steps:
            inputs = (found.tokens, found.value) if found.steps is None else (found.tokens,)
            return (_made(node, DISTANCES, inputs, found.factor),)
        source, name = self._tensor(found.tokens, node), self._names.new(f"{node.name}.core")
        core = _made(node, DISTANCES, (found.tokens,), found.factor)
        nodes = [replace(core, name=name, outputs=(source,))]
        for i, (op, constant, like) in enumerate(found.steps):
            last = i == len(found.steps) - 1
            result = node.outputs[0] if last else self._tensor(like, node)
            name = node.name if last else self._names.new(f"{node.name}.core")
            nodes.append(Node(op=op, name=name, inputs=(source, constant), outputs=(result,)))
            source = result
        return tuple(nodes)

    def _tensor(self, like: str, node: Node) -> str:
        """A new one, of the shape of another one."""
        name = self._names.new(f"{node.outputs[0]}.core")
        self.shapes[name] = self._graph.shapes[like]
        self.dtypes[name] = self._graph.dtypes.get(like, "float")
        return name


def _made(node: Node, op: str, inputs: tuple[str, ...], factor: float) -> Node:
    """What stands for a node, with softmax before it."""
    attributes = {"factor": factor, "ops": ("MatMul", "Softmax", "MatMul")}
    return Node(op=op, name=node.name, inputs=inputs, outputs=node.outputs, attributes=attributes)
