"""Graphs rewritten: identities taken out, and nodes replaced by others, with what they alone use."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.dependencies import needs
from convsv_cli.lipschitz.fold.weight import Weight
from convsv_cli.model.graph import Body, Constant, Dims, Graph, Names, Node, UnknownValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 2**24  # elements of a constant that is no scaling or shift of channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Replacement:
    """What replaces a node.

    Attributes:
        gone: nodes before it that have no other use.
        nodes: take its place, in order; the last one has its output.
        kinds: what was folded, one entry a piece, for the report; empty where that is not worth a word.
    """

    gone: tuple[Node, ...]
    nodes: tuple[Node, ...]
    kinds: tuple[str, ...] = ()


Merge = Callable[[Node, "Rewrite"], Replacement | None]


def rewritten(graph: Graph, merge: Merge) -> tuple[Graph, int, Counter[str]]:
    """The graph after the merge was offered each node, and each that it made; how often it took one, of what.

    A merge looks back only, at nodes that are done, and has to make something fewer.
    """
    rewrite, times, kinds = Rewrite(graph), 0, Counter[str]()
    pending = list(reversed(graph.main.nodes))
    while pending:
        node = pending.pop()
        merged = merge(node, rewrite)
        if merged is None:
            rewrite.add(node)
            continue
        rewrite.remove(merged.gone)
        pending.extend(reversed(merged.nodes))
        times += 1
        kinds.update(merged.kinds)
    return rewrite.graph(), times, kinds


class Rewrite:
    """A graph that is being rewritten, from its first node on.

    Attributes:
        view: knows the constants, shapes and types of all tensors so far, old and new.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: dict[str, Node] = {}  # by name, those that are done
        self._makers: dict[str, Node] = {}
        self._constants = dict(graph.constants)
        self._shapes, self._dtypes = dict(graph.shapes), dict(graph.dtypes)
        self.view = replace(graph, constants=self._constants, shapes=self._shapes, dtypes=self._dtypes)
        self._uses = uses(graph)
        nodes = [node.name for node in graph.main.nodes]
        outputs = [name for node in graph.main.nodes for name in node.outputs]
        tensors = {*self._uses, *self._constants, *graph.inputs, *graph.shapes}
        self._names = Names({*nodes, *outputs, *tensors})

    def add(self, node: Node) -> None:
        """Append a node."""
        self._nodes[node.name] = node
        self._makers.update((name, node) for name in node.outputs if name)

    def remove(self, nodes: tuple[Node, ...]) -> None:
        """Take nodes out."""
        for node in nodes:
            del self._nodes[node.name]

    def graph(self) -> Graph:
        """All nodes that are done, and the constants of the file and those that they use."""
        nodes = tuple(self._nodes.values())
        used = {name for node in nodes for name in node.inputs}
        used.update(self._graph.constants)
        kept = {name: reader for name, reader in self._constants.items() if name in used}
        return replace(
            self._graph,
            main=Body(nodes=nodes, outputs=self._graph.main.outputs),
            constants=kept,
            shapes=self._shapes,
            dtypes=self._dtypes,
        )

    def private_maker(self, name: str) -> Node | None:
        """The node of which a tensor is the only output, where nothing else uses it."""
        node = self._makers.get(name)
        return node if node is not None and self._uses[name] == 1 and node.outputs == (name,) else None

    def is_constant(self, name: str) -> bool:
        """Whether it does not depend on the network's input."""
        return name in self._constants

    def shape(self, name: str) -> Dims | None:
        """Its dimensions; None where nothing is known."""
        return self._shapes.get(name)

    def dtype(self, name: str) -> str:
        """Its element type."""
        return self._dtypes.get(name, "float")

    def weight(self, name: str) -> Weight | None:
        """A constant, read when it is needed; None where it is none, or has no known shape."""
        find = self._constants.get(name)
        if find is None:
            return None
        try:
            return Weight.of(find())
        except UnknownValueError:  # a bias may be beyond what convsv computes: no norm asks for it
            shape = self._shapes.get(name)
        sizes = tuple(size for size in shape or () if size is not None)
        known = shape is not None and len(sizes) == len(shape)
        return Weight(shape=sizes, compute=lambda: Weight.of(find()).compute()) if known else None

    def values(self, name: str) -> NDArray[np.float64] | None:
        """A small constant's values; None where they are not known or not finite."""
        weight = self.weight(name)
        if weight is None or math.prod(weight.shape) > LARGE:
            return None
        try:
            values = weight()
        except (UnknownValueError, TypeError, ValueError):
            return None
        return values if np.isfinite(values).all() else None

    def constant(self, base: str, weight: Weight, dtype: str) -> str:
        """The name of a new constant."""
        name = self.fresh(base)
        made = Constant(
            name=name, shape=weight.shape, dtype="float64", identity=name, read=weight, error=weight.error
        )
        self._constants[name] = lambda: made
        self._shapes[name] = weight.shape
        self._dtypes[name] = dtype
        return name

    def tensor(self, base: str, like: str) -> str:
        """The name of a new tensor that one node will use, with the shape and type of another one."""
        name = self.fresh(base)
        self._uses[name] = 1
        if like in self._shapes:
            self._shapes[name] = self._shapes[like]
        if like in self._dtypes:
            self._dtypes[name] = self._dtypes[like]
        return name

    def fresh(self, base: str) -> str:
        """A name that nothing has yet."""
        return self._names.new(base)


def uses(graph: Graph) -> Counter[str]:
    """How often each tensor is used: by nodes, by what is in their bodies, and as an output of the graph."""
    counts = Counter(graph.main.outputs)
    for node in graph.main.nodes:
        counts.update(name for name in node.inputs if name)
        counts.update(needs(replace(node, inputs=())))
    return counts


def without_identities(graph: Graph) -> Graph:
    """The graph without them, but those whose result is an output or is used in a body."""
    rewrite, used = Rewrite(graph), uses(graph)
    fixed = set(graph.main.outputs)
    for node in graph.main.nodes:
        fixed.update(needs(replace(node, inputs=())))
    behind: dict[str, str] = {}
    kept = []
    for node in graph.main.nodes:
        renamed = replace(node, inputs=tuple(behind.get(name, name) for name in node.inputs))
        if _is_identity(renamed, rewrite, used) and node.outputs[0] not in fixed:
            behind[node.outputs[0]] = renamed.inputs[0]
        else:
            kept.append(renamed)
    return replace(graph, main=Body(nodes=tuple(kept), outputs=graph.main.outputs))


def _is_identity(node: Node, rewrite: Rewrite, used: Counter[str]) -> bool:
    """Dropout drops only if it is told to; its mask must not matter."""
    if node.op == "Identity":
        return len(node.inputs) == len(node.outputs) == 1
    if node.op != "Dropout" or any(used[name] for name in node.outputs[1:] if name):
        return False
    mode = node.inputs[2] if len(node.inputs) > 2 else ""
    values = rewrite.values(mode) if mode else None
    return not mode or (values is not None and not values.any())
