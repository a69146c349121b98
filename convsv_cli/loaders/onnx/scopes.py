"""Graphs and the bodies inside them, and which tensor a name means where."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.model.graph import Names

Source = TensorProto | SparseTensorProto | NodeProto | None
MAX_DEPTH = 64
MAX_PATHS = 20_000_000
"""Characters of the paths to all tensors in bodies."""
RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """A graph, and the graph in whose node it stands.

    Attributes:
        graph: the main graph, or the body of a node.
        parent: None for the main graph.
        path: how to reach the body, e.g. "If_0.then_branch"; empty for the main graph.
        sources: what defines each name of this graph: a tensor, a node, or None for an input.
        varying: results of this graph's nodes that depend on an input, on chance or on a body.
        inner: the scopes of the bodies of this graph's nodes, in order.
    """

    graph: GraphProto
    parent: Scope | None = None
    path: str = ""
    sources: dict[str, Source] = field(default_factory=dict)
    varying: set[str] = field(default_factory=set)
    inner: list[Scope] = field(default_factory=list)

    def find(self, name: str) -> tuple[Scope, Source]:
        """Where the name is defined, seen from here, and by what; None where nothing does."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.sources:
                return scope, scope.sources[name]
            scope = scope.parent
        return self, None

    def with_bodies(self) -> Iterator[tuple[NodeProto, tuple[Scope, ...]]]:
        """The nodes, each with the scopes of its own bodies."""
        inner = iter(self.inner)
        for node in self.graph.node:
            yield node, tuple(next(inner) for _ in bodies(node))

    def key(self, name: str) -> Key:
        """What is the same for all names of one tensor: where it is defined, and its name there."""
        return self.find(name)[0], name

    def varies(self, name: str) -> bool:
        """Whether the name, seen from here, means no constant."""
        home, source = self.find(name)
        return source is None or name in home.varying


Key = tuple[Scope, str]


def scopes(graph: GraphProto) -> Iterator[Scope]:
    """The graph's scope, then those of the bodies in it, each before its own inner ones.

    Raises:
        UnreadableModelError: a tensor is defined twice, or nodes are in no order of computation.
        UnsafeModelError: bodies are nested too deeply, or their tensors' names with the paths are too long.
    """
    pending = [(_scope(graph, None, ""), 0)]
    characters = 0
    while pending:
        scope, depth = pending.pop()
        characters += len(scope.path) * (1 + len(scope.sources))
        if depth > MAX_DEPTH or characters > MAX_PATHS:
            raise UnsafeModelError(f"graphs are nested more than {MAX_DEPTH} deep, or below endless names")
        yield scope
        scope.inner.extend(_scope(body, scope, path) for path, body in _named_bodies(scope))
        pending.extend((inner, depth + 1) for inner in reversed(scope.inner))


def _named_bodies(scope: Scope) -> Iterator[tuple[str, GraphProto]]:
    """The bodies in a graph by their paths, no two of which are equal, nor begin the name of a tensor."""
    names, tensors = Names(), sorted(scope.sources)
    for node in scope.graph.node:
        for name, body in bodies(node):
            base = f"{node.name or node.op_type}.{name}"
            path = names.new(base)
            while _begins_one(f"{path}/", tensors):
                path = names.new(base)
            yield f"{scope.path}/{path}" if scope.path else path, body


def _begins_one(beginning: str, ordered: list[str]) -> bool:
    """Whether one of the ordered names begins so."""
    place = bisect_left(ordered, beginning)
    return place < len(ordered) and ordered[place].startswith(beginning)


def bodies(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The graphs among a node's attributes, by attribute name."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        for i, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}{i}", graph


def _scope(graph: GraphProto, parent: Scope | None, path: str) -> Scope:
    sources: dict[str, Source] = {value.name: None for value in graph.input}
    for node in graph.node:
        constant = constant_tensor(node)
        sources |= {name: constant or node for name in node.output if name}
    stored: dict[str, Source] = {_name(tensor): tensor for tensor in _initializers(graph)}
    _refuse_doubles(graph)
    scope = Scope(graph=graph, parent=parent, path=path, sources=sources | stored)
    _find_varying(scope)
    return scope


def _initializers(graph: GraphProto) -> list[TensorProto | SparseTensorProto]:
    return [*graph.initializer, *graph.sparse_initializer]


def _name(initializer: TensorProto | SparseTensorProto) -> str:
    return initializer.values.name if isinstance(initializer, SparseTensorProto) else initializer.name


def _refuse_doubles(graph: GraphProto) -> None:
    """A name of two tensors could mean the wrong one; an initializer may be the default of an input."""
    stored = [_name(initializer) for initializer in _initializers(graph)]
    fed = {value.name for value in graph.input} - set(stored)
    counts = Counter([*stored, *fed, *(name for node in graph.node for name in node.output if name)])
    double = next((name for name, count in counts.items() if count > 1), None)
    if double is not None:
        raise UnreadableModelError(f"the tensor {double!r} is defined twice", hint="export the model again")


def _find_varying(scope: Scope) -> None:
    """Follow the nodes in topological order, as ONNX demands: else what varies could pass for constant."""
    made = {name for name, source in scope.sources.items() if not isinstance(source, NodeProto)}
    for node in scope.graph.node:
        late = next((name for name in node.input if name in scope.sources and name not in made), None)
        if late is not None:
            raise UnreadableModelError(
                f"the node {node.name or node.op_type!r} reads {late!r} before that is computed",
                hint="sort the nodes of the graph, or export the model again",
            )
        made.update(node.output)
        chance = node.op_type in RANDOM or any(bodies(node))
        if chance or any(scope.varies(name) for name in node.input if name):
            scope.varying.update(node.output)


def constant_tensor(node: NodeProto) -> TensorProto | SparseTensorProto | None:
    """The tensor of a Constant node that holds one as such."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    values = {(attribute.name, attribute.type): attribute for attribute in node.attribute}
    if ("sparse_value", AttributeProto.SPARSE_TENSOR) in values:
        sparse: SparseTensorProto = values["sparse_value", AttributeProto.SPARSE_TENSOR].sparse_tensor
        return sparse
    held = values.get(("value", AttributeProto.TENSOR))
    return None if held is None else held.t
